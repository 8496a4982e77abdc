"""TFRecord shards and their manifest: writing, upload and reading in batches."""
