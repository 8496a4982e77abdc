"""Predictions with a trained model: calibration, intervals, variant effects."""
