"""DNA sequences: scaffolds and flanks, motifs, near-duplicates, parents of variants."""
