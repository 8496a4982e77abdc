"""File formats: the promoter table, tables as text or Parquet, FASTA records."""
