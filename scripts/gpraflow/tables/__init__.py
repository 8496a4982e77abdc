"""From public or private tables to splits: download, ingestion, leakage-controlled splits."""
