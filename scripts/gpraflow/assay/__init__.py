"""The sort-seq assay: sample sheet, simulation, reads to counts per bin, counts to expression."""
