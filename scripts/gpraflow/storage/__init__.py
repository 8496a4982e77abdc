"""Buckets: local folders and Google Cloud Storage with one interface."""
