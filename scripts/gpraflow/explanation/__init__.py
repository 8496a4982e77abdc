"""Why a model predicts what it predicts: in-silico mutagenesis, seqlets and motif sites."""
