"""Files that come in and go out: the promoter table, tables as text or Parquet, FASTA records."""
