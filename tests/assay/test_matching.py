"""Designed sequences: their file, and inserts matched to them."""

import csv
import gzip
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import Levenshtein

from gpraflow.assay import count_tables, expression, matching
from gpraflow.assay.sheet import CountColumn
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters, text
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import ingest, splits
from tests.assay import in_memory

FIVE, THREE = "GACTTCAAGCATGGCTA", "CCTGAGGTTACGCATTC"
MINE = Scaffold("mine", FIVE, THREE)
NAMES = ["wild type", "Πρόμαχος №2 (chr1:5-80)", 'a "quoted" one, with commas', "codon\t7"]


def sequences(number, length=75, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(number)]


def designs_of(inserts, names=None):
    return pl.DataFrame({"name": names or [f"d{i}" for i in range(len(inserts))], "insert": inserts})


# The file


def write_fasta(path, rows, width=40):
    lines = []
    for name, sequence in rows:
        lines += [f">{name}", *(sequence[start : start + width] for start in range(0, len(sequence), width))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_table(path, rows, delimiter):
    with open(path, "w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, delimiter=delimiter, lineterminator="\n")
        table.writerows([("other", "name", "sequence"), *(("x", *row) for row in rows)])
    return path


@pytest.mark.parametrize("kind", ["fa", "csv", "tsv", "parquet", "tsv.gz"])
def test_inserts_and_whole_promoters_of_every_format_keep_their_names(tmp_path, kind):
    names = NAMES[:2] if kind.startswith("tsv") else NAMES
    inserts = sequences(len(names))
    given = [FIVE + inserts[0] + THREE, inserts[1].lower(), *inserts[2:]]
    rows, path = list(zip(names, given, strict=True)), tmp_path / f"design.{kind}"
    if kind == "fa":
        write_fasta(path, rows)
    elif kind == "parquet":
        pl.DataFrame(rows, schema=["name", "sequence"], orient="row").write_parquet(path)
    elif kind == "tsv.gz":
        path.write_bytes(gzip.compress(write_table(tmp_path / "design.tsv", rows, "\t").read_bytes()))
    else:
        write_table(path, rows, "," if kind == "csv" else "\t")
    assert matching.load(path, MINE, (75, 75)).rows() == list(zip(names, inserts, strict=True))


def test_without_flanks_and_with_an_insert_that_begins_like_a_flank(tmp_path):
    insert = FIVE + sequences(1, 58)[0]
    path = write_fasta(tmp_path / "a.fa", [("a", insert)])
    assert matching.load(path, MINE, (75, 75))["insert"].to_list() == [insert]
    assert matching.load(path, Scaffold("none", "", ""), (40, 120))["insert"].to_list() == [insert]


A, B = sequences(2, seed=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f">a\n{A}\n>b\n{A[:40]}\n{A[40:]}\n", r"rows 1 and 3 \('a' and 'b'\): the same sequence; delete or correct"),
        (f">a\n{A}\n>b\n{FIVE}{A}{THREE}\n", r"rows 1 and 3 \('a' and 'b'\): the same sequence"),
        (f">a 1\n{A}\n>a 2\n{B}\n>a 1\n{A[:-1]}{'C' if A[-1] != 'C' else 'G'}\n", r"rows 1 and 5 \('a 1' and 'a 1'\): the same name"),
        (f">a\n{A}\n> \n{B}\n", r"row 3: the name is empty; give each sequence a name of its own"),
        (f">a\n{A}\n>b\n{B[:9]}N{B[10:]}\n", r"row 3 \('b'\): letter 'N' at position 10 of the sequence; a designed .* A, C, G and T only"),
        (f">a\n{A}\n>b\n{B[:9]}R{B[10:]}\n", r"row 3: letter 'R' at position 10"),
        (f">a\n{A}\n\n>b\n{B[1:]}\n", r"row 4 \('b'\): the insert is 74 bp long, but scaffold.insert_length is 75 to 75 bp; .*'mine'"),
        (f">a\n{FIVE}{A}\n", r"row 1 \('a'\): the insert is 92 bp long"),
        (">a\n\n>b\nACGT\n", r"row 1: the sequence is empty"),
        (f"name\tsequence\na\t{A}\nb\t{A}\n", r"rows 2 and 3 \('a' and 'b'\): the same sequence"),
        (f"name\tsequence\na\t{A}\n \t{B}\n", r"row 3: the name is empty"),
        (f"{A}\n{B}\n", r"row 1: no column 'sequence' for sequence .*the first row must name the columns sequence, name"),
        (f"sequence\tid\n{A}\ta\n", r"row 1: no column 'name' for name \(the file has sequence, id\); the first row must name"),
        ("", r"the file is empty"),
    ],
)
def test_faulty_designs_are_refused_with_their_line(tmp_path, text, message):
    path = tmp_path / ("design.fa" if text.startswith(">") else "design.tsv")
    path.write_text(text)
    with pytest.raises((InputError, ConfigError), match=rf"design\.(fa|tsv).*{message}"):
        matching.load(path, MINE, (75, 75))


def test_lines_are_those_of_the_file_beyond_the_first_block(tmp_path, monkeypatch):
    monkeypatch.setattr("gpraflow.formats.records._RECORDS", 2)
    rows = [(f"n{i}", sequence) for i, sequence in enumerate(sequences(5))]
    path = write_fasta(tmp_path / "a.fa", [*rows, ("n5", rows[1][1])])
    with pytest.raises(InputError, match=r"rows 4 and 16 \('n1' and 'n5'\): the same sequence"):
        matching.load(path, MINE, (75, 75))


# Matching


def nearest_by_brute_force(inserts, designs, max_edits):
    found = []
    for insert in inserts:
        distance = [Levenshtein.distance(insert, design) for design in designs]
        least = min(distance)
        code = distance.index(least) if distance.count(least) == 1 else matching.AMBIGUOUS
        found.append(code if least <= max_edits else matching.NOT_DESIGNED)
    return found


def mutated(sequence, number, rng):
    letters = list(sequence)
    for _ in range(number):
        place, kind = rng.integers(len(letters)), rng.integers(4)
        if kind == 0:
            del letters[place]
        elif kind == 1:
            letters.insert(place, "ACGT"[rng.integers(4)])
        else:
            letters[place] = "ACGTN"[rng.integers(5)]
    return "".join(letters)


@pytest.mark.parametrize("max_edits", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_matches_are_those_of_all_comparisons(seed, max_edits):
    """Families of designs that differ by few edits, and inserts with up to five errors."""
    rng = np.random.default_rng([seed, 7])
    designs = []
    for parent in sequences(4, 45, seed):
        designs += [parent, *(mutated(parent, rng.integers(1, 4), rng).replace("N", "A") for _ in range(12))]
    designs = list(dict.fromkeys(designs))
    inserts = [mutated(designs[rng.integers(len(designs))], rng.integers(0, 6), rng) for _ in range(400)]
    inserts = list(dict.fromkeys([*inserts, *sequences(20, 45, seed + 50)]))
    expected = nearest_by_brute_force(inserts, designs, max_edits)
    assert matching.match(pl.Series(inserts), pl.Series(designs), max_edits).tolist() == expected
    assert max_edits < 2 or {matching.NOT_DESIGNED, matching.AMBIGUOUS} < set(expected)


def test_the_other_strand_is_no_match_and_nothing_matches_nothing():
    design = sequences(1)[0]
    other = design.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    assert matching.match(pl.Series([other, design]), pl.Series([design]), 2).tolist() == [matching.NOT_DESIGNED, 0]
    assert matching.match(pl.Series([], dtype=pl.String), pl.Series([design]), 2).tolist() == []


# Counts of designs


def table_of(pool):
    return pl.DataFrame({"insert": list(pool), "reads": list(pool.values())}, schema={"insert": pl.String, "reads": pl.Int64}).lazy()


def changed(sequence, place, letter=None):
    letter = letter or ("A" if sequence[place] != "A" else "C")
    return sequence[:place] + letter + sequence[place + 1 :]


def test_reads_are_counted_for_designs_and_all_others_in_the_ledger(capsys):
    one, two, three = sequences(3)
    near = changed(one, 30, "A" if one[30] != "A" else "C")  # a design at one edit of another
    between = changed(one, 30, next(letter for letter in "GT" if letter != one[30]))  # at one edit of both
    stranger = sequences(1, seed=9)[0]
    bins = [
        ("x", table_of({one: 50, changed(one, 3): 4, near: 30, between: 5})),
        ("y", table_of({near: 20, two: 7, changed(changed(two, 3), 9): 2, stranger: 6})),
        ("z", table_of({})),
    ]
    designs = designs_of([three, two, one, near], ["unseen, α", "two", "one", "near"])
    table, ledgers = in_memory.merge_designed(bins, MINE, designs, 1, "design.fa")
    assert table.columns == ["sequence", "name", "x", "y", "z"]
    assert table.rows() == [
        (FIVE + one + THREE, "one", 54, 0, 0),
        (FIVE + near + THREE, "near", 30, 20, 0),
        (FIVE + two + THREE, "two", 0, 7, 0),
    ]
    out = "matches no designed sequence", "matches several designed sequences equally well"
    assert [(ledger.dataset, ledger.counts, rows) for ledger, rows in ledgers] == [
        (
            "x",
            {("in", "rows"): 89, ("dropped", out[0]): 0, ("dropped", out[1]): 5, ("noted", "matched to a designed sequence with edits"): 4},
            84,
        ),
        (
            "y",
            {("in", "rows"): 35, ("dropped", out[0]): 8, ("dropped", out[1]): 0, ("noted", "matched to a designed sequence with edits"): 0},
            27,
        ),
        (
            "z",
            {("in", "rows"): 0, ("dropped", out[0]): 0, ("dropped", out[1]): 0, ("noted", "matched to a designed sequence with edits"): 0},
            0,
        ),
        (
            "library",
            {
                ("in", "rows"): 7,
                ("dropped", out[0]): 2,
                ("dropped", out[1]): 1,
                ("dropped", "copy of a designed sequence with errors"): 1,
                ("noted", "designed sequences without reads"): 1,
            },
            3,
        ),
    ]
    for ledger, rows in ledgers:
        ledger.lines(rows)  # adds up
    assert capsys.readouterr().err == "design.fa: 1 of 4 designed sequences have no reads:\nunseen, α\n"
    assert in_memory.merge_designed(bins, MINE, designs, 2, "design.fa")[0]["y"].to_list() == [0, 20, 9]
    assert in_memory.merge_designed(bins, MINE, designs, 0, "design.fa")[0]["x"].to_list() == [50, 30, 0]


def test_a_design_that_fits_few_reads_stops():
    one, two = sequences(2)
    bins = [("low", table_of({one: 12, two: 28})), ("high", table_of({one: 5}))]
    with pytest.raises(InputError) as caught:
        in_memory.merge_designed(bins, MINE, designs_of([one]), 1, "design.fa", min_yield=0.5)
    message = str(caught.value)
    assert message.startswith("bin 'low', matching to design.fa: only 12 of 40 reads were kept (30.0%; reads.min_yield is 0.5)")
    assert "70.0%  matches no designed sequence" in message
    assert "Usual cause: reads.design lists another library or the other strand" in message
    in_memory.merge_designed(bins, MINE, designs_of([one]), 1, "design.fa", min_yield=0.3)


def test_a_few_reads_that_match_no_design_give_an_empty_table():
    one, two = sequences(2)
    table, ledgers = in_memory.merge_designed([("a", table_of({two: 19}))], MINE, designs_of([one]), 1, "design.fa", min_yield=0.5)
    assert table.schema == {"sequence": pl.String, "name": pl.String, "a": pl.Int64}
    assert table.height == 0
    assert [rows for _, rows in ledgers] == [0, 0]
    assert ledgers[0][0].counts["dropped", "matches no designed sequence"] == 19


def test_a_wild_type_and_100_designed_variants_are_101_promoters_with_names(tmp_path):
    """Reads of one wild type and its codon variants, with a base error in a tenth: from counts to splits, each keeps its name."""
    rng = np.random.default_rng(3)
    wild_type = sequences(1, seed=11)[0]
    library = {wild_type: "wild type"}
    while len(library) < 101:
        place = 3 * rng.integers(25)
        codon = "".join(rng.choice(list("ACGT"), 3))
        library.setdefault(wild_type[:place] + codon + wild_type[place + 3 :], f"κωδικόνιο {len(library)}")
    known, bins = list(library), []
    for name in ("low", "mid", "high"):
        pool = {}
        for number in rng.integers(0, 101, 4000):
            insert = known[number]
            if rng.random() < 0.1:
                insert = changed(insert, rng.integers(75), "ACGT"[rng.integers(4)])
            pool[insert] = pool.get(insert, 0) + 1
        bins.append((name, table_of(pool)))
    path = write_table(tmp_path / "design.csv", [(name, FIVE + insert + THREE) for insert, name in library.items()], ",")
    designs = matching.load(path, MINE, (75, 75))
    table, ledgers = in_memory.merge_designed(bins, MINE, designs, 1, path, min_yield=0.5)
    assert table.height == 101
    named = {FIVE + insert + THREE: name for insert, name in library.items()}
    assert dict(table.select("sequence", "name").iter_rows()) == named
    kept = sum(rows for _, rows in ledgers[:3])
    assert 11_500 < kept < 12_000
    table.write_parquet(tmp_path / "counts.parquet")

    ledger = Ledger("estimate_expression", "library")
    replicates = expression.check_bins([{"bin": name} for name, _ in bins], "bin", "reads", "bins.tsv")
    columns = {"sequence": "sequence", "name": "auto", "group": "auto", "split": "auto", "source": "auto"}
    places = [CountColumn(name, 0, name, False) for name in ("low", "mid", "high")]
    labels, reads = count_tables.read([tmp_path / "counts.parquet"], places, columns, ledger)
    method = {"method": "weighted_mean", "read_dispersion": 2.0, "prior": "library"}
    estimates, separate = expression.estimate(reads, replicates, **method, origin="bins.tsv", ledger=ledger)
    filters = {"minimum_reads": 1, "minimum_cells": 0, "singletons": "keep", "singleton_weight": 0.2}
    promoters.write(
        expression.to_table(labels, reads, replicates, estimates, separate, **filters, ledger=ledger), tmp_path / "expression.parquet"
    )
    auto = dict.fromkeys(promoters.SCHEMA, "auto") | {"sequence": "sequence", "expression": "expression"}
    accepted = ingest.ingest(tmp_path / "expression.parquet", scaffold=MINE, policy=Policy(insert_length=(75, 75)), columns=auto)
    parts = splits.assign(
        accepted.lazy(), splits.Clusters.named(accepted["sequence"]), method="hash", names=["train", "val"],
        fractions={"train": 0.7, "val": 0.3}, labels={}, across="drop", independent="drop", train_promoters=0, seed=0, origin="x",
        overlaps=pl.DataFrame(schema={"dataset": pl.String, "sequence": pl.String}), ledger=Ledger("split_promoters", "library"),
    ).parts()  # fmt: skip
    for part in parts.values():
        assert part["name"].to_list() == [named[sequence] for sequence in part["sequence"]]
    assert sum(part.height for part in parts.values()) == 101


def test_adapter_matches_if_there_is_a_design_and_merges_errors_otherwise(root, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(root / "scripts")
    import merge_counts

    monkeypatch.setattr(merge_counts.logs, "log_to", lambda path: None)
    one, two = sequences(2)
    pools = {"low": {one: 90, changed(one, 5): 3, two: 7}, "high": {two: 100}}
    for name, pool in pools.items():
        table_of(pool).collect().write_parquet(tmp_path / f"{name}.parquet")
        Ledger("count_reads", name).write(tmp_path / f"{name}.tsv", 0)
    (tmp_path / "scaffolds.yaml").write_text(f"mine: {{five_prime: {FIVE}, three_prime: {THREE}}}\n")
    design = write_fasta(tmp_path / "design.fa", [("one", one), ("two", two)])

    def merged(design, max_edits):
        job = SimpleNamespace(
            log=["log"],
            threads=1,
            input=SimpleNamespace(
                counts=[tmp_path / f"{name}.parquet" for name in pools],
                ledgers=[tmp_path / f"{name}.tsv" for name in pools],
                scaffolds=tmp_path / "scaffolds.yaml",
                design=design,
            ),
            output=SimpleNamespace(counts=tmp_path / "counts.parquet", ledger=tmp_path / "ledger.tsv"),
            params=SimpleNamespace(
                columns=list(pools),
                scaffold="mine",
                insert_length=[75, 75],
                design_edits=0,
                min_yield=0.5,
                umi="ignore",
                collapse={"max_edits": max_edits, "ratio": 2, "n_in_insert": "keep", "max_collapsed": 0.05},
            ),
        )
        merge_counts.main(job)
        return pl.read_parquet(job.output.counts)

    table = merged(str(design), 2)
    assert table.rows() == [(FIVE + two + THREE, "two", 7, 100), (FIVE + one + THREE, "one", 90, 0)]
    assert "merge_counts\tlow\tdropped\tmatches no designed sequence\t3\n" in (tmp_path / "ledger.tsv").read_text()
    table = merged([], 2)
    assert table.rows() == [(FIVE + two + THREE, 7, 100), (FIVE + one + THREE, 93, 0)]


def test_names_are_quoted_in_tables_of_text(tmp_path):
    table = pl.DataFrame({"name": NAMES, "expression": [1.0, 2.0, 3.0, 4.0]})
    with text.writing(tmp_path / "a.tsv") as write:
        write(table)
    with open(tmp_path / "a.tsv", encoding="utf-8", newline="") as handle:
        assert [row["name"] for row in csv.DictReader(handle, delimiter="\t")] == NAMES
