"""TFRecord shards and their manifest: written, uploaded and read as batches."""
