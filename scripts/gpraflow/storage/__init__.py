"""Buckets: folders and Google Cloud Storage behind one interface."""
