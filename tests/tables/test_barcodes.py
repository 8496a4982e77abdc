"""Segments of the insert and barcodes, from tables made here."""

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.evaluation import checks, evaluate
from gpraflow.formats import promoters
from gpraflow.sequences import audit, neighbours
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import ingest as tables_ingest
from gpraflow.tables import splits

NONE = Scaffold("none", "", "")
FLANKED = Scaffold("flanked", "TGCATTTTTTTCACATC", "GGTTACGGCTGTT")
COLUMNS = dict.fromkeys(promoters.SCHEMA, "auto") | {"sequence": "sequence", "expression": "expression"}
REGSEQ = {"segments": "promoter 100, barcode 20", "insert_length": (120, 120)}


def bases(rows, length, seed):
    return ["".join("ACGT"[base] for base in row) for row in np.random.default_rng(seed).integers(0, 4, (rows, length))]


PROMOTERS, BARCODES = bases(60, 100, 1), bases(240, 20, 2)
CONSTRUCTS = [PROMOTERS[row // 4] + barcode for row, barcode in enumerate(BARCODES)]  # 4 barcodes behind each promoter


def ingest(folder, table, scaffold=NONE, ledger=None, **policy):
    pl.DataFrame(table).write_csv(folder / "a.tsv", separator="\t")
    ledger = ledger or Ledger("ingest_table", "library")
    found = tables_ingest.ingest(folder / "a.tsv", scaffold=scaffold, policy=Policy(**policy), columns=COLUMNS, ledger=ledger)
    ledger.lines(found.height)  # rows in are rows out plus rows dropped
    return found


def library(sequences, **columns):
    return {"sequence": sequences, "expression": np.arange(len(sequences)) % 7 / 2} | columns


def test_barcodes_become_a_column_and_leave_the_sequence(tmp_path):
    ledger = Ledger("ingest_table", "library")
    table = ingest(tmp_path, library(CONSTRUCTS), ledger=ledger, **REGSEQ)
    assert table["sequence"].to_list() == [text[:100] for text in CONSTRUCTS]
    assert table["barcode"].to_list() == BARCODES
    assert ledger.counts["noted", "insert reduced to its promoter segments"] == 240


def test_segments_are_counted_between_the_flanks(tmp_path):
    """A damaged 5' flank, one base shorter, does not shift the barcode."""
    five, three = FLANKED.five_prime, FLANKED.three_prime
    sequences = [five + CONSTRUCTS[0] + three, CONSTRUCTS[4], five[1:] + CONSTRUCTS[8] + three]
    table = ingest(tmp_path, library(sequences), FLANKED, **REGSEQ | {"insert_length": (110, 130)})
    assert table["sequence"].to_list() == [five + PROMOTERS[0] + three, five + PROMOTERS[1] + three, five[1:] + PROMOTERS[2] + three]
    assert table["barcode"].to_list() == [BARCODES[0], BARCODES[4], BARCODES[8]]


def test_several_segments_and_one_of_any_length(tmp_path):
    ledger = Ledger("ingest_table", "library")
    rows = [("ACGTA", "GGGG", "C" * 30, "TTT"), ("CCCCC", "GGGG", "A" * 41, "TTA"), ("GATTA", "GGAG", "T" * 35, "TTG")]
    policy = {"segments": "barcode 5, constant 4, promoter *, barcode 3", "insert_length": (20, 80)}
    table = ingest(tmp_path, library(["".join(row) for row in rows]), ledger=ledger, **policy)
    assert table["sequence"].to_list() == [row[2] for row in rows]
    assert table["barcode"].to_list() == ["ACGTATTT", "CCCCCTTA", "GATTATTG"]
    assert ledger.counts["noted", "constant segments differ from the most common sequence"] == 1
    bare = ingest(tmp_path, library(["ACGTACGT"]), segments="promoter 8, constant 4, barcode 3", insert_length=(8, 15))
    assert bare.select("sequence", "barcode").rows() == [("ACGTACGT", None)]
    split = ingest(tmp_path, library(["AAAACCCCGGGG"]), segments="promoter 4, constant 4, promoter 4", insert_length=(1, 20))
    assert split.select("sequence", "barcode").rows() == [("AAAAGGGG", None)]


def test_inserts_of_another_length_are_named_or_dropped(tmp_path):
    table = library([*CONSTRUCTS[:3], CONSTRUCTS[3][:-1], PROMOTERS[9]])
    policy = REGSEQ | {"insert_length": (90, 130)}
    with pytest.raises(InputError, match=r"a\.tsv, row 5: the insert is 119 bp long, but scaffold\.segments \(promoter 100, barcode 20\)"):
        ingest(tmp_path, table, **policy)
    ledger = Ledger("ingest_table", "library")
    found = ingest(tmp_path, table, ledger=ledger, outside_length="drop", **policy)
    assert found["sequence"].to_list() == [PROMOTERS[0]] * 3 + [PROMOTERS[9]]
    assert found["barcode"].to_list() == [*BARCODES[:3], None]
    assert ledger.counts["dropped", "insert length differs from that of scaffold.segments"] == 1
    assert ledger.counts["noted", "promoter without further segments, kept unchanged"] == 1


def test_barcodes_in_a_column_need_no_segments_and_allow_none_in_the_sequence(tmp_path):
    table = library([PROMOTERS[0], PROMOTERS[0], PROMOTERS[1]], barcode=["AC", "GT", "AC"])
    assert ingest(tmp_path, table)["barcode"].to_list() == ["AC", "GT", "AC"]
    with pytest.raises(InputError, match=r"row 2: barcode 'AC' is given in a column, but scaffold\.segments defines a barcode as well"):
        ingest(tmp_path, library(CONSTRUCTS[:1], barcode=["AC"]), **REGSEQ)


def test_duplicates_are_rows_of_one_promoter_and_barcode(tmp_path):
    table = {"sequence": [*CONSTRUCTS[:2], CONSTRUCTS[0]], "expression": [1.0, 5.0, 2.0]}
    with pytest.raises(InputError, match=r"rows 2 and 4: the same sequence with expression 1 and 2 \(1 such sequences\)"):
        ingest(tmp_path, table, **REGSEQ)
    found = ingest(tmp_path, table, duplicates="mean", **REGSEQ)
    assert found.select("barcode", "expression").rows() == [(BARCODES[0], 1.5), (BARCODES[1], 5.0)]


def test_mean_over_barcodes_is_weighted_by_weight_or_else_by_reads(tmp_path):
    table = library(CONSTRUCTS[:6], n_reads=[1, 2, 3, 4, 10, 30], expression_sd=[1.0, 2.0, 1.0, 1.0, 3.0, 4.0])
    ledger = Ledger("ingest_table", "library")
    found = ingest(tmp_path, table, barcodes="mean", ledger=ledger, **REGSEQ)
    assert found["sequence"].to_list() == PROMOTERS[:2]
    expression, reads, error = (np.array(table[name]) for name in ("expression", "n_reads", "expression_sd"))
    parts = [slice(0, 4), slice(4, 6)]
    assert found["expression"].to_list() == pytest.approx([np.average(expression[part], weights=reads[part]) for part in parts])
    assert found["expression_sd"].to_list() == pytest.approx(
        [np.sqrt(((reads * error)[part] ** 2).sum()) / reads[part].sum() for part in parts], rel=1e-6
    )
    assert found["n_reads"].to_list() == [10, 40]
    assert found["barcode"].to_list() == [None, None]
    assert ledger.counts["dropped", "further barcode of a promoter, averaged with weights from n_reads"] == 4
    weighted = ingest(tmp_path, table | {"weight": [1.0, 0.0, 0.0, 3.0, 0.0, 0.0]}, barcodes="mean", **REGSEQ)
    assert weighted["expression"].to_list() == pytest.approx([(expression[0] + 3 * expression[3]) / 4, expression[4:].mean()])
    assert weighted["weight"].to_list() == [4.0, 0.0]
    equal = ingest(tmp_path, library(CONSTRUCTS[:6]), barcodes="mean", **REGSEQ)
    assert equal["expression"].to_list() == pytest.approx([expression[part].mean() for part in parts])


def test_mean_over_barcodes_keeps_what_cannot_be_averaged(tmp_path):
    table = {"sequence": CONSTRUCTS[:5], "expression": [2.0, 2.0, 2.0, 2.0, 3.0], "singleton": [True, True, True, True, False]}
    table |= {"bin_cells": ["1,2", "0,1", "3,0", "1,1", "5,5"], "n_bins": [1, 2, 1, 1, 2], "source": ["x", "y", "x", "x", "z"]}
    found = ingest(tmp_path, table, barcodes="mean", **REGSEQ)
    assert found["bin_cells"].to_list() == [[5.0, 4.0], [5.0, 5.0]]
    assert found.select("singleton", "n_bins", "source").rows() == [(True, 2, "x"), (False, 2, "z")]
    assert found["expression_sd"].to_list() == [None, None]
    with pytest.raises(InputError, match=r"rows 2 and 3: the same sequence with split 'train' and 'test'"):
        ingest(tmp_path, table | {"split": ["train", "test", "train", "train", "val"]}, barcodes="mean", **REGSEQ)


def test_an_empty_label_is_that_of_the_other_barcodes(tmp_path):
    table = {"sequence": CONSTRUCTS[:5], "expression": [2.0, 2.0, 2.0, 2.0, 3.0], "split": [None, "train", None, "train", None]}
    found = ingest(tmp_path, table, barcodes="mean", **REGSEQ)
    assert found["split"].to_list() == ["train", None]


def split(table, max_edits=0):
    clusters = neighbours.clusters(table, table["sequence"], max_edits)
    names = {"train": 0.6, "val": 0.2, "test": 0.2}
    options = {"method": "hash", "names": list(names), "fractions": names, "labels": {}, "across": "drop", "independent": "drop"}
    options |= {"overlaps": pl.DataFrame(schema=neighbours.OVERLAPS), "train_promoters": 0, "seed": 1, "origin": "a"}
    return splits.assign(table.lazy(), splits.Clusters.named(clusters), **options, ledger=Ledger("split_promoters", "library"))


def test_barcodes_of_one_promoter_stay_in_one_split(tmp_path):
    """Without segments they do not: the case that the audit warns of."""
    whole = split(ingest(tmp_path, library(CONSTRUCTS), insert_length=(120, 120)), max_edits=3).parts()
    trained = {text[:100] for text in whole["train"]["sequence"]}
    assert sum(text[:100] in trained for text in whole["test"]["sequence"]) > 0.8 * whole["test"].height
    assigned = split(ingest(tmp_path, library(CONSTRUCTS), **REGSEQ))
    parts = assigned.parts()
    of = {name: set(part["sequence"]) for name, part in parts.items()}
    assert sum(part.height for part in parts.values()) == 240
    assert not of["train"] & of["test"] | of["train"] & of["val"] | of["val"] & of["test"]
    summary = splits.summary(assigned)
    assert summary.filter(stratum="promoters")["promoters"].sum() == 240
    rows = audit.distances([parts["train"]["sequence"]], {"test": parts["test"]["sequence"]}, lambda text: text, 1)
    assert checks.distance_to_training(rows, parts["test"].height, "hash")["verdict"] == "ok"


def test_distances_of_barcodes_of_one_promoter_do_not_multiply_rows():
    nearest = pl.DataFrame({"dataset": "a", "sequence": ["AC", "AC", "GG"], "distance": [1, 1, None]})
    assert evaluate.distances_of(pl.DataFrame({"sequence": ["AC", "GG", "AC"]}), nearest, "a").to_list() == [1, None, 1]
