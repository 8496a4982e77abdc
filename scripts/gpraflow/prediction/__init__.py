"""Predictions with a trained model: calibration, prediction intervals and variant effects."""
