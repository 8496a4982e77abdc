"""hashFrag (BLAST candidates, then groups) on the inserts of neighbours.py, which calls `groups` in a Python that has hashFrag.

Its command line cannot start: the packages of hashFrag 1.0.2 lack a file with its help texts. Its modules are called as its pipeline
`create_orthogonal_splits` does. blastn (Debian: ncbi-blast+) must be on the PATH.
"""

import argparse

import common
from hashFrag.modules import blastn_module, identify_homologous_groups_module, process_blast_results_module

SCORES = {"gapopen": 2, "gapextend": 1, "penalty": -1, "reward": 1, "word_size": 11}  # hashFrag's defaults, as are those below


def groups(fasta, folder, threshold, threads):
    """Group the sequences of a FASTA file; write ``groups.tsv``, name and group, to ``folder``; return seconds."""
    search = {"max_target_seqs": 500, "xdrop_ungap": 20, "xdrop_gap": 30, "xdrop_gap_final": 100, "evalue": 10, "dust": "no"}
    given = {"fasta_path": fasta, "train_fasta_path": None, "test_fasta_path": None, "blastdb_label": "all", "output_dir": folder}
    flags = {"exec_makeblastdb_only": False, "skip_revcomp": False, "force": False, "threads": threads}
    hits, processed = f"{folder}/all.blastn.out", f"{folder}/processed.tsv"
    with common.timed() as lap:
        blastn_module.run(argparse.Namespace(**SCORES, **search, **given, **flags))
        process_blast_results_module.run(argparse.Namespace(**SCORES, blastn_path=hits, processed_blastn_path=processed))
        identify_homologous_groups_module.run(
            argparse.Namespace(hits_path=processed, threshold=threshold, output_path=f"{folder}/groups.tsv")
        )
    return {"seconds": lap.seconds}
