"""From public or private tables to splits: downloads, ingestion, leakage-controlled splits."""
