"""Model interpretation: in-silico mutagenesis, seqlets and motif sites."""
