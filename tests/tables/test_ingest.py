import csv
import gzip
import io
import re
import resource
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import zstandard
from polars.testing import assert_frame_equal

from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters, records
from gpraflow.formats import text as formats_text
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import ingest as tables_ingest
from tests.workbook import workbook

FIVE, THREE = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
PTPA = Scaffold("pTpA", FIVE, THREE)
NONE = Scaffold("none", "", "")
COLUMNS = dict.fromkeys(promoters.SCHEMA, "auto") | {"sequence": "sequence", "expression": "expression"}
RNG = np.random.default_rng(1)


def insert(length=80):
    return "".join(RNG.choice(list("ACGT"), length))


def promoter(length=80):
    return FIVE + insert(length) + THREE


ROWS = [(promoter(), 3.5), (promoter(79), 11.0), (promoter(), 0.25)]
TSV = "sequence\texpression\n" + "".join(f"{s}\t{e}\n" for s, e in ROWS)


def ingest(path, policy=None, scaffold=PTPA, columns=None, ledger=None, low=0, high=17, **options):
    return tables_ingest.ingest(
        path,
        scaffold=scaffold,
        policy=policy or Policy(),
        columns=columns or COLUMNS,
        expression_range=(low, high),
        ledger=ledger,
        **options,
    )


def expected(rows=ROWS):
    return pl.DataFrame({"sequence": [s for s, _ in rows], "expression": [e for _, e in rows]}, schema_overrides={"expression": pl.Float32})


def check(table, rows=ROWS):
    assert table.columns == list(promoters.SCHEMA)
    assert_frame_equal(table.select("sequence", "expression"), expected(rows))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", TSV.encode()),
        ("a.txt", TSV.encode()),
        ("no_end.tsv", TSV.rstrip("\n").encode()),
        ("blank_end.tsv", (TSV + "\n\n").encode()),
        ("windows.tsv", TSV.replace("\n", "\r\n").encode()),
        ("bom.tsv", b"\xef\xbb\xbf" + TSV.encode()),
        ("a.csv", TSV.replace("\t", ",").encode()),
        ("quoted.csv", ("".join('"' + line.replace("\t", '","') + '"\n' for line in TSV.splitlines())).encode()),
        ("a.tsv.gz", gzip.compress(TSV.encode())),
        ("two_members.tsv.gz", gzip.compress(TSV[:50].encode()) + gzip.compress(TSV[50:].encode())),
        ("a.tsv.zst", zstandard.compress(TSV.encode())),
        (
            "two_frames.csv.zst",
            zstandard.compress(TSV[:50].replace("\t", ",").encode()) + zstandard.compress(TSV[50:].replace("\t", ",").encode()),
        ),
    ],
)
@pytest.mark.parametrize("block", [7, 100, 16 << 20])
def test_every_text_format_gives_the_same_table(tmp_path, monkeypatch, name, content, block):
    monkeypatch.setattr(formats_text, "_BLOCK", block)
    (tmp_path / name).write_bytes(content)
    check(ingest(tmp_path / name))


def test_parquet_and_own_column_names(tmp_path):
    frame = expected().rename({"sequence": "promoter", "expression": "YFP"}).with_columns(reads=pl.Series([1, 2, 3]))
    frame.write_parquet(tmp_path / "a.parquet")
    table = ingest(tmp_path / "a.parquet", columns=COLUMNS | {"sequence": "promoter", "expression": "YFP", "n_reads": "reads"})
    check(table)
    assert table["n_reads"].to_list() == [1, 2, 3]


def test_no_header(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV.split("\n", 1)[1])
    check(ingest(tmp_path / "a.tsv", header=False, columns=COLUMNS | {"sequence": 1, "expression": 2}))


def test_further_columns_are_kept(tmp_path):
    rows = "".join(f"{s}\t{e}\t{i}.5\t{'' if i else 'x'}\t \n" for i, (s, e) in enumerate([*ROWS, ROWS[0]]))
    (tmp_path / "a.tsv").write_text("sequence\texpression\tpeer\tkind\tempty\n" + rows)
    table = ingest(tmp_path / "a.tsv", keep=["kind", "peer", "empty"], keep_if_there=["peer_base", "peer"])
    assert table.columns == [*promoters.SCHEMA, "kind", "peer", "empty"]
    assert table["peer"].to_list() == [0.5, 1.5, 2.5]  # the first of equal sequences
    assert table["kind"].to_list() == ["x", None, None]
    assert table["empty"].to_list() == [None] * 3
    promoters.write(table, tmp_path / "a.parquet")
    assert promoters.read(tmp_path / "a.parquet")["peer"].to_list() == [0.5, 1.5, 2.5]
    with pytest.raises(ConfigError, match="no column 'pear' to keep; did you mean 'peer'"):
        ingest(tmp_path / "a.tsv", keep=["pear"])
    with pytest.raises(ConfigError, match="'n_reads' is a column of the promoter table; rename"):
        ingest(tmp_path / "a.tsv", keep=["n_reads"])


def test_all_roles_are_read(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "sequence\tname\texpression\texpression_sd\tn_reads\tn_bins\tsingleton\tweight\tbin_cells\tgroup\tsplit\tsource\tbarcode\n"
        f"{ROWS[0][0]}\tp 1\t1\t0.5\t7\t3\tfalse\t1.5\t0, 2.5,4\tf1\ttrain\tx\tACGT\n{ROWS[1][0]}\t\t2\t\t\t\tTRUE\t\t\tf2\tval\ty\t\n"
    )
    table = ingest(tmp_path / "a.tsv")
    assert table.rows() == [
        (ROWS[0][0], "p 1", 1.0, 0.5, 7, 3, False, 1.5, [0.0, 2.5, 4.0], "f1", "train", "x", "ACGT"),
        (ROWS[1][0], None, 2.0, None, None, None, True, None, None, "f2", "val", "y", None),
    ]


@pytest.mark.parametrize("cells", ["1,,2", "1,x", "1,-2", "1,nan", "inf"])
def test_bad_cells_of_bins(tmp_path, cells):
    (tmp_path / "a.tsv").write_text(f"sequence\texpression\tbin_cells\n{ROWS[0][0]}\t1\t1,2\n{ROWS[1][0]}\t2\t{cells}\n")
    with pytest.raises(InputError, match=rf"row 3: bin_cells '{cells}'; expected numbers of at least 0, separated by commas"):
        ingest(tmp_path / "a.tsv")


def test_cells_of_bins_of_repeated_promoters_are_added_up(tmp_path):
    cells = [[1.0, 2.0], [3.0, 0.5], [5.0, 5.0], None]
    sequences = [ROWS[i][0] for i in (0, 0, 1, 2)]
    pl.DataFrame(
        {"sequence": sequences, "expression": [1.0, 3.0, 2.0, 2.0], "bin_cells": cells, "weight": [1.0, 2.0, 3.0, 4.0]}
    ).write_parquet(tmp_path / "a.parquet")
    table = ingest(tmp_path / "a.parquet", Policy(duplicates="mean"))
    assert table["bin_cells"].to_list() == [[4.0, 2.5], [5.0, 5.0], None]
    assert table["weight"].to_list() == [1.5, 3.0, 4.0]


def test_parquet_is_read_in_blocks_with_rows_numbered_through(tmp_path, monkeypatch):
    monkeypatch.setattr(formats_text, "_PARQUET_ROWS", 100)
    table = pl.DataFrame({"sequence": [promoter() for _ in range(950)], "expression": np.arange(950) % 17.0})
    table.write_parquet(tmp_path / "a.parquet", row_group_size=70)
    assert_frame_equal(ingest(tmp_path / "a.parquet").select("sequence", "expression"), table.cast({"expression": pl.Float32}))
    table.with_columns(expression=pl.when(pl.int_range(950) == 800).then(99.0).otherwise("expression")).write_parquet(
        tmp_path / "b.parquet"
    )
    with pytest.raises(InputError, match="row 801: expression 99 is outside"):
        ingest(tmp_path / "b.parquet")


def test_sequences_of_a_fasta_file_or_a_table(tmp_path):
    text = f">one\n{ROWS[0][0][:60]}\n{ROWS[0][0][60:]}\n>two x\n{ROWS[1][0].lower()}\n"
    expected = [ROWS[0][0], ROWS[1][0]]
    (tmp_path / "a.fa").write_text(text)
    (tmp_path / "a.fasta.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.csv").write_text(f"name,sequence\n1,{expected[0]}\n2,{expected[1]}\n")
    for name in ("a.fa", "a.fasta.gz", "a.csv"):
        assert records.read_sequences(tmp_path / name).to_list() == expected
    for name, content, message in (
        ("a.fa", "", "the file is empty"),
        ("b.fa", "ACGT\n", "no FASTA record"),
        ("c.fa", ">a\nMKV\n", r"record 1 \('a'\): letter 'M' at position 1"),
        ("d.fa", ">a\nACGT\n>b\n", r"record 2 \('b'\): the sequence is empty; delete the record"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            records.read_sequences(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        records.read_sequences(tmp_path / "none.fa")


def line(number, sequence=None, expression="1"):
    """Row `number` (the header is row 1) of a table is replaced; returns the table."""
    lines = TSV.splitlines()
    lines[number - 1] = f"{promoter() if sequence is None else sequence}\t{expression}"
    return "\n".join(lines) + "\n"


BAD = {
    "empty file": ("", "the file is empty"),
    "only a header": ("sequence\texpression\n", "no rows"),
    "no such column": (TSV.replace("sequence", "seqence"), r"row 1: no column 'sequence' for sequence; did you mean 'seqence'\?"),
    "non-numeric expression": (line(3, expression="high"), r"row 3: expression 'high' is not a number"),
    "decimal comma": (line(3, expression="3,5"), r"row 3: expression '3,5' is not a number"),
    "empty expression": (line(3, expression=""), r"row 3: expression is empty"),
    "NaN": (line(4, expression="NaN"), r"row 4: expression is NaN"),
    "inf": (line(4, expression="-inf"), r"row 4: expression is -inf"),
    "outside the range": (line(2, expression="17.5"), r"row 2: expression 17\.5 is outside 0 \.\. 17"),
    "illegal base": (line(2, FIVE + "ACGR" + insert() + THREE), r"row 2: letter 'R' at position 21"),
    "gap": (line(2, FIVE + "AC-T" + insert() + THREE), r"row 2: letter '-' at position 20"),
    "RNA": (line(3, promoter().replace("T", "U")), r"row 3: the sequence is RNA \(U at position 1\).*replace U by T"),
    "empty sequence": (line(3, ""), r"row 3: the sequence is empty"),
    "too long": (line(3, promoter(121)), r"row 3: the sequence is 151 bp long.*takes 70 to 150 bp"),
    "too short": (line(4, promoter(39)), r"row 4: the sequence is 69 bp long"),
    "empty line": (TSV.replace("\n", "\n\n", 2), r"row 2: the line is empty"),
    "too many cells": (line(3, expression="1\t2"), r"row 3: 3 cells, expected 2"),
    "too few cells": (TSV + promoter() + "\n", r"row 5: 1 cells, expected 2"),
    "typographic minus": (line(3, expression="\N{MINUS SIGN}1.5"), r"row 3: expression .* is not a number; its minus sign .* U\+2212"),
    "comment within the table": (TSV + "# plate 2\n", r"row 5: '# plate 2' is a comment within the table; .*: delete it"),
    "thousands": (line(3, expression="1,000.5"), r"row 3: expression '1,000\.5' is not a number; write numbers without separators of"),
    "column twice": (TSV.replace("sequence", "expression"), r"row 1: the column 'expression' occurs 2 times"),
    "duplicates": (TSV + f"{ROWS[0][0]}\t4\n", r"rows 2 and 5: the same sequence with expression 3\.5 and 4 .*input\.duplicates"),
    "optional cells missing": (
        "sequence\texpression\tgroup\n" + promoter() + "\t1\ta\n" + promoter() + "\t1\n",
        r"row 3: 2 cells, expected 3",
    ),
    "a short and a long row": (
        "sequence\texpression\tgroup\n" + promoter() + "\t1\n" + promoter() + "\t1\ta\tb\n",
        r"row [23]: [24] cells, expected 3",
    ),
    "too many reads": ("sequence\texpression\tn_reads\n" + promoter() + "\t1\t1e30\n", r"row 2: n_reads '1e30' must be a whole number"),
    "same promoter in two splits": (
        f"sequence\texpression\tsplit\n{ROWS[0][0]}\t1\ttrain\n{ROWS[1][0]}\t1\tval\n{ROWS[0][0]}\t1\tval\n",
        r"rows 2 and 4: the same sequence with split 'train' and 'val'",
    ),
    "fractional reads": ("sequence\texpression\tn_reads\n" + promoter() + "\t1\t1.5\n", r"row 2: n_reads '1\.5' must be a whole number"),
    "negative sd": ("sequence\texpression\texpression_sd\n" + promoter() + "\t1\t-1\n", r"row 2: expression_sd '-1' must not be negative"),
    "odd singleton": ("sequence\texpression\tsingleton\n" + promoter() + "\t1\tperhaps\n", r"row 2: singleton 'perhaps'"),
}


@pytest.mark.parametrize("block", [40, 16 << 20])
@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_names_file_and_row(tmp_path, monkeypatch, content, message, block):
    monkeypatch.setattr(formats_text, "_BLOCK", block)
    path = tmp_path / "bad.tsv"
    path.write_text(content)
    with pytest.raises(GpraflowError, match=message) as caught:
        ingest(path)
    assert "bad.tsv" in str(caught.value)


def test_expression_must_fit_float32(tmp_path):
    (tmp_path / "a.tsv").write_text(line(2, expression="1e39"))
    with pytest.raises(InputError, match=r"row 2: expression is 1e39; a finite number"):
        ingest(tmp_path / "a.tsv", high=np.inf)


def test_a_column_called_row_is_a_column_like_others(tmp_path):
    (tmp_path / "a.tsv").write_text(f"sequence\texpression\trow\n{ROWS[0][0]}\t1\tx9\n")
    expected_rows = [(ROWS[0][0], 1.0, "x9")]
    columns = COLUMNS | {"source": "row"}
    assert ingest(tmp_path / "a.tsv", columns=columns).select("sequence", "expression", "source").rows() == expected_rows
    pl.DataFrame({"sequence": [ROWS[0][0]], "expression": [1.0], "row": ["x9"]}).write_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet", columns=columns).select("sequence", "expression", "source").rows() == expected_rows


def test_blank_labels_are_none(tmp_path):
    (tmp_path / "a.csv").write_text("sequence,expression,group,split\n" + "".join(f'{s},{e},"", \n' for s, e in ROWS))
    pl.DataFrame({"sequence": [s for s, _ in ROWS], "expression": [e for _, e in ROWS], "group": [""] * 3}).write_parquet(
        tmp_path / "b.parquet"
    )
    for name in ("a.csv", "b.parquet"):
        table = ingest(tmp_path / name)
        assert table["group"].null_count() == table["split"].null_count() == 3


def test_quoted_header_with_a_comma(tmp_path):
    (tmp_path / "a.csv").write_text('"id, full",sequence,expression\n' + "".join(f'"x, y",{s},{e}\n' for s, e in ROWS))
    check(ingest(tmp_path / "a.csv"))


def test_nested_parquet_column(tmp_path):
    pl.DataFrame({"sequence": [["A"]], "expression": [1.0]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'sequence' for sequence is of type List\(String\)"):
        ingest(tmp_path / "a.parquet")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.tsv: this file does not exist"):
        ingest(tmp_path / "none.tsv")


@pytest.mark.parametrize("cut", [3, 20, -9, -1])
@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_truncated_compressed_file(tmp_path, suffix, compress, cut):
    path = tmp_path / f"a.tsv{suffix}"
    path.write_bytes(compress(TSV.encode())[:cut])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        ingest(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_compressed_file(tmp_path, suffix):
    path = tmp_path / f"a.tsv{suffix}"
    path.write_bytes(b"this is no compressed file at all")
    with pytest.raises(InputError, match="damaged"):
        ingest(path)


def test_damaged_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        ingest(tmp_path / "a.parquet")


def test_header_where_none_was_declared(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV)
    with pytest.raises(
        InputError, match=r"row 1: expression 'expression' is not a number; this looks like a header: set input\.header: true"
    ):
        ingest(tmp_path / "a.tsv", header=False, columns=COLUMNS | {"sequence": 1, "expression": 2})


def test_names_need_a_header(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV)
    with pytest.raises(ConfigError, match="must be a number from 1"):
        ingest(tmp_path / "a.tsv", header=False)
    with pytest.raises(ConfigError, match="no column number 3 for expression"):
        ingest(tmp_path / "a.tsv", header=False, columns=COLUMNS | {"sequence": 1, "expression": 3})


def test_unknown_suffix(tmp_path):
    (tmp_path / "a.doc").write_text(TSV)
    with pytest.raises(ConfigError, match=r"set input\.format"):
        ingest(tmp_path / "a.doc")
    check(ingest(tmp_path / "a.doc", file_format="tsv"))


def counts(ledger):
    return {what: rows for (kind, what), rows in ledger.counts.items() if kind != "in"}


def test_lower_case_is_accepted_and_counted(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV.replace(ROWS[1][0], ROWS[1][0].lower()))
    ledger = Ledger("ingest_table", "x")
    check(ingest(tmp_path / "a.tsv", ledger=ledger))
    assert counts(ledger)["lower case converted to upper case"] == 1


def mixed(tmp_path):
    """One intact row, one insert, three damaged: a substitution 5', a deletion 3', a flank that is missing."""
    inside = insert()
    rows = [FIVE + inside + THREE, inside[::-1], "TGCATTTTATTCACATC" + insert() + THREE, FIVE + insert() + "GGTTACGCTGTT", FIVE + insert()]
    (tmp_path / "a.tsv").write_text("sequence\texpression\n" + "".join(f"{s}\t{i}\n" for i, s in enumerate(rows)))
    return rows, tmp_path / "a.tsv"


@pytest.mark.parametrize("policy", ["keep", "repair", "drop"])
def test_flanks_are_added_repaired_kept_or_dropped_and_counted(tmp_path, policy):
    rows, path = mixed(tmp_path)
    ledger = Ledger("ingest_table", "x")
    table = ingest(path, policy=Policy(damaged_flanks=policy), ledger=ledger)
    found = counts(ledger)
    assert found["both flanks intact"] == 1
    assert found["insert only, flanks added"] == 1
    added = FIVE + rows[1] + THREE
    if policy == "keep":
        assert table["sequence"].to_list() == [rows[0], added, *rows[2:]]
        assert found["flank damaged, kept as measured"] == 3
    elif policy == "repair":
        inner = [rows[2][17:-13], rows[3][17:-12]]
        assert table["sequence"].to_list() == [rows[0], added, *[FIVE + part + THREE for part in inner], rows[4]]
        assert found["flank damaged, repaired"] == 2
        assert found["one flank not found, kept as measured"] == 1
    else:
        assert table["sequence"].to_list() == [rows[0], added]
        assert ledger.counts["dropped", "flank damaged"] == 3
    ledger.write(tmp_path / "ledger.tsv", table.height)
    written = pl.read_csv(tmp_path / "ledger.tsv", separator="\t")
    assert (
        written.filter(kind="in")["rows"].sum() == written.filter(kind="out")["rows"].sum() + written.filter(kind="dropped")["rows"].sum()
    )


@pytest.mark.parametrize("scaffold", [PTPA, Scaffold("short", "ACGTTGCA", "TTGACA"), Scaffold("one", "", THREE)], ids=lambda s: s.name)
def test_random_inserts_are_not_taken_for_damaged_promoters(tmp_path, scaffold):
    inserts = [insert() for _ in range(5000)]
    (tmp_path / "a.tsv").write_text("sequence\texpression\n" + "".join(f"{s}\t1\n" for s in inserts))
    table = ingest(tmp_path / "a.tsv", scaffold=scaffold)
    assert table["sequence"].to_list() == [scaffold.five_prime + s + scaffold.three_prime for s in inserts]


def test_damaged_flank_as_error_names_the_row(tmp_path):
    with pytest.raises(InputError, match=r"row 4: a flank is damaged \(5': TGCATTTTATTCACATC, expected TGCATTTTTTTCACATC"):
        ingest(mixed(tmp_path)[1], policy=Policy(damaged_flanks="error"))


def test_missing_flanks_may_be_refused(tmp_path):
    with pytest.raises(InputError, match=r"row 3: neither TGCATTTTTTTCACATC nor GGTTACGGCTGTT was found"):
        ingest(mixed(tmp_path)[1], policy=Policy(add_missing_flanks=False))


def test_ledger_that_does_not_add_up_is_a_fault(tmp_path):
    ledger = Ledger("x", "y")
    ledger.read(3)
    with pytest.raises(AssertionError, match="3 rows in, but 2 out and 0 dropped"):
        ledger.write(tmp_path / "l.tsv", 2)
    assert not list(tmp_path.iterdir())


def test_lengths_outside_may_be_dropped(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV + f"{promoter(130)}\t1\n{promoter(20)}\t1\n")
    ledger = Ledger("ingest_table", "x")
    check(ingest(tmp_path / "a.tsv", policy=Policy(outside_length="drop"), ledger=ledger))
    assert ledger.counts["dropped", "length outside 70 to 150 bp"] == 2


@pytest.mark.parametrize(("policy", "value"), [("mean", 4.5), ("first", 3.5)])
def test_duplicates(tmp_path, policy, value):
    (tmp_path / "a.tsv").write_text(TSV + f"{ROWS[0][0]}\t5.5\n{ROWS[1][0]}\t11\n")
    ledger = Ledger("ingest_table", "x")
    table = ingest(tmp_path / "a.tsv", policy=Policy(duplicates=policy), ledger=ledger)
    check(table, [(ROWS[0][0], value), *ROWS[1:]])
    assert sum(rows for (kind, _), rows in ledger.counts.items() if kind == "dropped") == 2
    assert counts(ledger)["sequences measured more than once with different expression"] == 1


def test_the_mean_of_duplicates_has_the_error_of_a_mean(tmp_path):
    """Four measurements of error 1 have a mean of error 1/2; one without an error counts with the root mean square of the others'."""
    a, b, c = (row[0] for row in ROWS[:3])
    rows = [f"{a}\t{value}\t1" for value in (1, 2, 3, 4)]
    rows += [f"{b}\t1\t0.3", f"{b}\t2\t0.4", f"{b}\t6\t", f"{c}\t1\t", f"{c}\t3\t"]
    (tmp_path / "a.tsv").write_text("sequence\texpression\texpression_sd\n" + "\n".join(rows) + "\n")
    table = ingest(tmp_path / "a.tsv", policy=Policy(duplicates="mean"))
    assert table["expression"].to_list() == pytest.approx([2.5, 3, 2])
    assert table["expression_sd"].to_list()[:2] == pytest.approx([0.5, np.sqrt(0.125 / 3)])
    assert table["expression_sd"][2] is None


def test_insert_and_promoter_of_the_same_sequence_are_duplicates(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV + f"{ROWS[0][0][17:-13]}\t5\n")
    with pytest.raises(InputError, match="rows 2 and 5: the same sequence"):
        ingest(tmp_path / "a.tsv")


def test_equal_duplicates_are_no_error(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV + f"{ROWS[0][0]}\t3.5\n")
    ledger = Ledger("ingest_table", "x")
    check(ingest(tmp_path / "a.tsv", ledger=ledger))
    assert ledger.counts["dropped", "repeated sequence, first row kept"] == 1


def test_round_trip_and_same_bytes(tmp_path):
    (tmp_path / "a.tsv").write_text(TSV)
    table = ingest(tmp_path / "a.tsv")
    promoters.write(table, tmp_path / "1.parquet")
    promoters.write(table, tmp_path / "2.parquet")
    assert_frame_equal(promoters.read(tmp_path / "1.parquet"), table)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_read_refuses_what_is_no_promoter_table(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        promoters.read(tmp_path / "a.parquet")
    expected().write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="not a promoter table: column 'name'"):
        promoters.read(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="not a readable Parquet"):
        promoters.read(tmp_path / "c.parquet")


@pytest.mark.parametrize("way", ["", ".lazy()", ".lazy().filter(pl.col('expression') < 1)"])
def test_full_disk_leaves_nothing(tmp_path, way):
    """A file size limit stands in for a full disk: writing fails in the middle."""
    code = (
        "import polars as pl\nfrom gpraflow.formats import promoters\nimport sys\n"
        "table = pl.DataFrame({'sequence': [f'A{i}' for i in range(100000)], 'expression': [0.0] * 100000})\n"
        f"promoters.write(table{way}, sys.argv[1])"
    )
    path = tmp_path / "promoters.parquet"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        # Without this the limit would also cut off the compiled modules that Python keeps.
        env={"PYTHONPATH": str(promoters.__file__).rsplit("/gpraflow", 1)[0], "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "could not be written (File too large)" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_real_tables(shared):
    ledger = Ledger("ingest_table", "yeast")
    table = ingest(shared / "yeast_train.tsv.gz", low=-2, high=20, columns=COLUMNS | {"group": "family"}, ledger=ledger)
    assert table.height == 55355
    assert table["split"].value_counts().sort("split").rows() == [("train", 49477), ("val", 5878)]
    assert counts(ledger)["flank damaged, kept as measured"] == 11
    assert table["group"].n_unique() > 10000
    assert table["expression"].to_numpy()[0] == np.float32(3.32868)


NAMES = ["GAL1 5' (chr2:1-80)", "Πρόμαχος №2", 'the "old" one, really']


def test_names_keep_spaces_quotes_and_letters_of_any_script(tmp_path):
    cells = [(s, name, str(e)) for (s, e), name in zip(ROWS, NAMES, strict=True)]
    with open(tmp_path / "a.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("sequence", "name", "expression"), *cells])
    (tmp_path / "a.tsv").write_text("sequence\tid\texpression\n" + "".join("\t".join(row) + "\n" for row in cells), encoding="utf-8")
    assert ingest(tmp_path / "a.csv")["name"].to_list() == NAMES
    table = ingest(tmp_path / "a.tsv", columns=COLUMNS | {"name": "id"})
    assert table["name"].to_list() == NAMES
    assert ingest(tmp_path / "a.tsv")["name"].to_list() == [None] * 3
    promoters.write(table, tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet")["name"].to_list() == NAMES
    assert ingest(tmp_path / "a.csv", columns=COLUMNS | {"name": ""})["name"].to_list() == [None] * 3


@pytest.mark.parametrize("policy", ["mean", "first"])
def test_a_repeated_sequence_keeps_its_first_name(tmp_path, policy):
    rows = [(*ROWS[0], "a"), (*ROWS[1], "b"), (*ROWS[0], "again"), (*ROWS[1], "b")]
    (tmp_path / "a.tsv").write_text("sequence\texpression\tname\n" + "".join(f"{s}\t{e}\t{name}\n" for s, e, name in rows))
    ledger = Ledger("ingest_table", "library")
    assert ingest(tmp_path / "a.tsv", Policy(duplicates=policy), ledger=ledger)["name"].to_list() == ["a", "b"]
    assert ledger.counts["noted", "sequences with several names, the first kept"] == 1


# Tables as people have them


def shown(table):
    return table.select("sequence", "expression").rows()


@pytest.mark.parametrize("block", [7, 16 << 20])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.tsv", '"sequence"\t"expression"\n"ACGT"\t0.5\n"CCCC"\t1.5\n'),
        ("cells.tsv", 'sequence\texpression\n"ACGT"\t0.5\n"CCCC"\t1.5\n'),
        ("all.tsv", '"sequence"\t"expression"\n"ACGT"\t"0.5"\n"CCCC"\t"1.5"\n'),
        ("row_names.tsv", '"sequence"\t"expression"\n"1"\t"ACGT"\t0.5\n"2"\t"CCCC"\t1.5\n'),
        ("row_names_without_quotes.txt", "expression sequence\n1 0.5 ACGT\n2 1.5 CCCC\n".replace(" ", "\t")),
        ("semicolons.csv", "sequence;expression\nACGT;0.5\nCCCC;1.5\n"),
        ("semicolons.tsv", "sequence;expression\nACGT;0.5\nCCCC;1.5\n"),
        ("commas.tsv", "sequence,expression\nACGT,0.5\nCCCC,1.5\n"),
        ("tabs.csv", "sequence\texpression\nACGT\t0.5\nCCCC\t1.5\n"),
        ("index.csv", ",sequence,expression\n0,ACGT,0.5\n1,CCCC,1.5\n"),
        ("comments.tsv", "# measured by hand\n#\n# in \t 2022\nsequence\texpression\nACGT\t0.5\nCCCC\t1.5\n"),
        ("commented_header.tsv", "# made today\n#sequence\texpression\nACGT\t0.5\nCCCC\t1.5\n"),
    ],
)
def test_tables_as_other_programs_write_them(tmp_path, monkeypatch, name, content, block):
    monkeypatch.setattr(formats_text, "_BLOCK", block)
    (tmp_path / name).write_text(content)
    assert shown(ingest(tmp_path / name, Policy(insert_length=(4, 4)), NONE)) == [("ACGT", 0.5), ("CCCC", 1.5)]


def test_quotes_within_cells_of_tsv_are_text(tmp_path):
    (tmp_path / "a.tsv").write_text('sequence\texpression\tsource\nACGT\t0.5\t5" end\nCCCC\t1.5\t"3" end\n')
    table = ingest(tmp_path / "a.tsv", Policy(insert_length=(4, 4)), NONE)
    assert table["source"].to_list() == ['5" end', '"3" end']


def test_decimal_commas(tmp_path):
    (tmp_path / "a.csv").write_text("sequence;expression;expression_sd;own\nACGT;0,5;1e-1;1,25\nCCCC;-1,5;;NA\n")
    short = Policy(insert_length=(4, 4))
    with pytest.raises(InputError, match=r"row 2: expression '0,5' is not a number.*set input\.decimal: ','"):
        ingest(tmp_path / "a.csv", short, NONE)
    table = ingest(tmp_path / "a.csv", short, NONE, low=-2, decimal=",", keep=["own"])
    assert shown(table) == [("ACGT", 0.5), ("CCCC", -1.5)]
    assert table["own"].to_list() == [1.25, None]
    assert table["expression_sd"].to_list() == [pytest.approx(0.1), None]
    (tmp_path / "a.csv").write_text("sequence;expression\nACGT;1.234,5\n")
    with pytest.raises(InputError, match=r"row 2: expression '1\.234,5' is not a number; write numbers without separators of thou"):
        ingest(tmp_path / "a.csv", short, NONE, decimal=",", high=np.inf)
    (tmp_path / "a.csv").write_text("sequence;expression;bin_cells\nACGT;1,5;1,2\n")
    with pytest.raises(ConfigError, match=r"bin_cells are numbers separated by commas, so input\.decimal must be '\.'"):
        ingest(tmp_path / "a.csv", short, NONE, decimal=",")
    (tmp_path / "a.csv").write_text("ACGT;0,5\nCCCC;1,5\n")  # without a header a comma could be either
    columns = COLUMNS | {"sequence": 1, "expression": 2}
    message = r"row 1: letter ';' at position 5 .*if semicolons separate the cells, set input\.separator: semicolon"
    with pytest.raises(InputError, match=message):
        ingest(tmp_path / "a.csv", short, NONE, columns, header=False)
    table = ingest(tmp_path / "a.csv", short, NONE, columns, header=False, separator="semicolon", decimal=",")
    assert shown(table) == [("ACGT", 0.5), ("CCCC", 1.5)]
    pl.DataFrame({"sequence": ["ACGT"], "expression": [0.5]}).write_parquet(tmp_path / "a.parquet")
    assert shown(ingest(tmp_path / "a.parquet", short, NONE, decimal=",")) == [("ACGT", 0.5)]


@pytest.mark.parametrize("cell", ["NA", "NaN", "", " ", "N/A", "null"])
def test_missing_expression_by_policy(tmp_path, cell):
    (tmp_path / "a.tsv").write_text(f"sequence\texpression\tn_reads\town\nACGT\t{cell}\t1\tx\nCCCC\t1.5\t{cell}\ty\nGGGG\t{cell}\t3\tz\n")
    short = Policy(insert_length=(4, 4))
    value = cell.strip() or "empty"
    with pytest.raises(
        InputError, match=rf"row 2: expression is {value} \(2 such rows near here\); give a number, .* input\.missing: drop"
    ):
        ingest(tmp_path / "a.tsv", short, NONE)
    ledger = Ledger("ingest_table", "x")
    table = ingest(tmp_path / "a.tsv", short, NONE, missing="drop", ledger=ledger, keep=["own"])
    assert shown(table) == [("CCCC", 1.5)]
    assert (table["n_reads"].to_list(), table["own"].to_list()) == ([None], ["y"])
    assert ledger.counts["dropped", "expression missing (empty, NA or NaN)"] == 2
    assert shown(ingest(tmp_path / "a.tsv", short, NONE, missing="drop")) == [("CCCC", 1.5)]
    (tmp_path / "a.tsv").write_text("sequence\texpression\nACGT\tinf\n")
    with pytest.raises(InputError, match="row 2: expression is inf"):
        ingest(tmp_path / "a.tsv", short, NONE, missing="drop")


def test_ambiguous_letters_by_policy(tmp_path):
    (tmp_path / "a.tsv").write_text("sequence\texpression\nACGTACRT\t1\nACGTACGT\t1\n")
    policy = Policy(insert_length=(8, 8))
    with pytest.raises(InputError, match=r"row 2: letter 'R' at position 7 of 'ACGTACRT'; only .* are accepted; set input\.ambiguous: n"):
        ingest(tmp_path / "a.tsv", policy, NONE)
    ledger = Ledger("ingest_table", "x")
    assert shown(ingest(tmp_path / "a.tsv", policy, NONE, ambiguous="n", ledger=ledger)) == [("ACGTACNT", 1), ("ACGTACGT", 1)]
    assert ledger.counts["noted", "IUPAC ambiguity codes replaced by N"] == 1


def test_rows_are_counted_from_the_first_line_of_the_file_comments_included(tmp_path):
    for content in ("# a\n# b\nsequence\texpression\nACGT\tx\n", "# a\n# sequence\texpression\nCCCC\t1\nACGT\tx\n"):
        (tmp_path / "a.tsv").write_text(content)
        with pytest.raises(InputError, match=r"a\.tsv, row 4: expression 'x' is not a number"):
            ingest(tmp_path / "a.tsv", Policy(insert_length=(4, 4)), NONE)
    (tmp_path / "a.tsv").write_text("# a\n# b\n")
    with pytest.raises(InputError, match="the file is empty"):
        ingest(tmp_path / "a.tsv")


def test_rows_with_an_extra_cell_at_their_end_are_not_row_names(tmp_path):
    (tmp_path / "a.tsv").write_text("sequence\texpression\nACGT\t1\t\n")
    with pytest.raises(InputError, match="row 2: 3 cells, expected 2"):
        ingest(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    "text",
    [
        '"sequence" "expression" "name"\n"1" "ACGT" 1.5 "a b"\n"2" "CCCC" 2 "c"\n',  # write.table
        '"sequence" "expression" "name"\n"ACGT" 1.5 "a b"\n"CCCC" 2 "c"\n',  # row.names = FALSE
        "sequence expression name\nACGT 1.5 x\nCCCC 2 c\n",  # quote = FALSE
    ],
)
def test_blanks_separate_cells_as_of_rs_write_table(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    table = ingest(tmp_path / "a.txt", Policy(insert_length=(4, 4)), NONE)
    assert shown(table) == [("ACGT", 1.5), ("CCCC", 2)]
    assert table["name"].to_list() == ["x" if " x\n" in text else "a b", "c"]


def test_a_blank_in_a_name_is_no_separator(tmp_path):
    (tmp_path / "a.tsv").write_text("my sequence\nACGT\nCCCC\n")
    assert shown_names(tmp_path / "a.tsv") == ["my sequence"]
    (tmp_path / "a.tsv").write_text("my sequence\texpression of a\nACGT\t1 2\n")
    assert shown_names(tmp_path / "a.tsv") == ["my sequence", "expression of a"]
    (tmp_path / "a.tsv").write_text("sequence expression\nACGT\t1 2\n")  # a header with blanks, and rows with tabs
    assert "sequence" not in shown_names(tmp_path / "a.tsv")


def shown_names(path):
    return next(names for _, names in formats_text.read_blocks(path, "auto", True))


def test_a_sequence_in_the_header_line_of_a_fasta_record_is_named(tmp_path):
    (tmp_path / "a.fa").write_text(">p0 ACGTACGTACGT\n>p1 CCCCCCCCCCCC\n")
    with pytest.raises(InputError, match=r"record 1 \('p0'\): the sequence stands behind a blank in the header line; .* tr ' ' '\\n'"):
        records.read_sequences(tmp_path / "a.fa")
    (tmp_path / "a.fa").write_text(">p0 of yeast\n>p1\nCCCCCCCCCCCC\n")
    with pytest.raises(InputError, match=r"record 1 \('p0'\): the sequence is empty"):
        records.read_sequences(tmp_path / "a.fa")


def test_unicode_text_of_excel_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("sequence\texpression\nACGT\t1\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.txt, row 1: not UTF-8 text; this is UTF-16, which Excel calls Unicode text; save"):
        ingest(tmp_path / "a.txt")


@pytest.mark.parametrize("row", [1, 2, 7])
def test_text_in_the_encoding_of_windows_is_named_with_its_row(tmp_path, row):
    lines = ["name\tsequence\texpression", *(f"p{number}\tACGT\t1" for number in range(9))]
    lines[row - 1] = lines[row - 1].replace("name", "m\N{LATIN SMALL LETTER U WITH DIAERESIS}").replace("p", "\N{MICRO SIGN}")
    (tmp_path / "a.txt").write_bytes("\n".join(lines).encode("windows-1252"))
    with pytest.raises(InputError, match=rf"a\.txt, row {row}: not UTF-8 text; save the table as CSV UTF-8, or convert it, .* iconv"):
        ingest(tmp_path / "a.txt", Policy(insert_length=(4, 4)), NONE)


def test_a_spreadsheet(tmp_path):
    pytest.importorskip("fastexcel")
    short, path = Policy(insert_length=(4, 4)), tmp_path / "a.xlsx"
    rows = [
        ["# by hand"],
        [],
        [None, "sequence", "expression", "n_reads"],
        [1, "ACGT", 0.1, 3],
        [2, "CCCC", "1.5", None],
        [3, "GGGG", "NA"],
    ]
    workbook(path, {"data": rows, "empty": []})
    table = ingest(path, short, NONE, missing="drop")
    assert shown(table) == [("ACGT", pytest.approx(0.1)), ("CCCC", 1.5)]
    assert table["n_reads"].to_list() == [3, None]
    with pytest.raises(InputError, match=r"a\.xlsx, row 6: expression is NA"):
        ingest(path, short, NONE)
    assert records.read_sequences(path).to_list() == ["ACGT", "CCCC", "GGGG"]
    workbook(path, {"data": [["ACGT", 1], ["CCCC", 2]]})
    assert shown(ingest(path, short, NONE, COLUMNS | {"sequence": 1, "expression": 2}, header=False)) == [("ACGT", 1), ("CCCC", 2)]
    for sheets, message in (
        ({"data": rows, "notes": [["x"]]}, r"the file has 2 sheets \(data, notes\), and only one .* in a file of its own, or as CSV UTF-8"),
        ({"data": [*rows[:4], [], *rows[4:]]}, "row 5: the line is empty; delete it"),
        ({"data": [["Table S1"], [], *rows[2:]]}, "row 2: the line is empty; delete it, and the lines above it if they are a title"),
        ({"data": []}, "the file is empty"),
        ({"data": rows[:3]}, "the table has no rows"),
    ):
        workbook(path, sheets)
        with pytest.raises(InputError, match=message):
            ingest(path, short, NONE, missing="drop")
    path.write_bytes(b"PK no")
    with pytest.raises(InputError, match=r"a\.xlsx: not a readable \.xlsx file .* save the table as CSV UTF-8"):
        ingest(path)


def test_spreadsheets_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(ConfigError, match=r"a\.xlsx: \.xlsx files need the package fastexcel; install it, or save the table as CSV UTF-8"):
        ingest(tmp_path / "a.xlsx")
    (tmp_path / "a.ods").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"a\.ods: \.ods files cannot be read; save the table as \.xlsx, or as CSV UTF-8"):
        ingest(tmp_path / "a.ods")


@pytest.mark.parametrize("block", [1, 50_000])
def test_names_of_fasta_records_that_differ_after_the_first_word(tmp_path, monkeypatch, block):
    monkeypatch.setattr(records, "_RECORDS", block)
    path, what = tmp_path / "a.fa", "records named by their whole header line, since several have the same first word"
    for titles, names, noted in (
        (["p1 x", "p2 y", "p3"], ["p1", "p2", "p3"], None),
        (["Variant 1 (chr1:5)", "Variant 2 (chr1:9)", "p3 z"], ["Variant 1 (chr1:5)", "Variant 2 (chr1:9)", "p3 z"], 3),
        (["p1 x", "p2 y", "p1 x"], ["p1", "p2", "p1"], None),  # whole lines are no better
    ):
        path.write_text("".join(f">{title}\nACGT\n" for title in titles))
        ledger = Ledger("predict", "")
        rows = pl.concat(list(records.records(path, ledger)))
        assert rows["name"].to_list() == names
        assert ledger.counts.get(("noted", what)) == noted


def test_names_of_fasta_records_from_standard_input(monkeypatch):
    for text, names in ((">p 1\nACGT\n>p 2\nCCCC\n", ["p 1", "p 2"]), (">p 1\nACGT\n>q 2\nCCCC\n", ["p", "q"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode()))))
        assert pl.concat(list(records.records("-", Ledger("predict", ""))))["name"].to_list() == names


@pytest.mark.parametrize("name", ["row", "_text"])
def test_columns_with_names_that_are_used_internally(tmp_path, name):
    (tmp_path / "a.tsv").write_text(f"sequence\texpression\t{name}\nACGT\t1\t2\n")
    with pytest.raises(ConfigError, match=rf"a\.tsv: the column '{name}' has a name that is used internally; rename"):
        tables_ingest.ingest(
            tmp_path / "a.tsv",
            scaffold=Scaffold("none", "", ""),
            policy=Policy(insert_length=(1, 9)),
            columns={"sequence": "sequence", "expression": "expression"},
            keep=[name],
        )


@pytest.mark.parametrize(
    ("role", "values", "message"),
    [
        ("bin_cells", [1, 2], "of type Int64; expected lists of numbers, or text"),
        ("bin_cells", [[[1]], [[2]]], r"of type List.*; expected lists of numbers"),
        ("expression", pl.Series([1, 2], dtype=pl.Duration("ms")), r"of type Duration\(.*expected text or numbers"),
        ("expression", pl.Series([1, 2], dtype=pl.Time), "of type Time; expected text or numbers"),
        ("sequence", [[["A"]], [["C"]]], r"of type List.*; expected text or numbers"),
        ("name", [{"a": 1}] * 2, r"of type Struct.*; expected text or numbers"),
    ],
)
def test_columns_of_parquet_of_other_types(tmp_path, role, values, message):
    content = {"sequence": ["ACGT", "CCCC"], "expression": [1.0, 2.0]} | {role: values}
    pl.DataFrame(content).write_parquet(tmp_path / "a.parquet")
    columns = {"sequence": "sequence", "expression": "expression", role: role}
    with pytest.raises(InputError, match=rf"a\.parquet: column '{role}' for {role} is {message}"):
        tables_ingest.ingest(
            tmp_path / "a.parquet", scaffold=Scaffold("none", "", ""), policy=Policy(insert_length=(1, 9)), columns=columns
        )


@pytest.mark.parametrize("name", ["a.fa", "a.tsv"])
def test_lines_and_records_longer_than_any_promoter(tmp_path, monkeypatch, name):
    monkeypatch.setattr(formats_text, "LONGEST_LINE", 1000)
    monkeypatch.setattr(records, "LONGEST_LINE", 1000)
    (tmp_path / name).write_text((">x\n" if name == "a.fa" else "sequence\n") + "ACGT" * 300)
    with pytest.raises(InputError, match=rf"{re.escape(name)}.*more than 1,000 (bytes|letters)"):
        records.read_sequences(tmp_path / name)
    if name == "a.fa":
        (tmp_path / name).write_text(">x\n" + "ACGT\n" * 300)
        with pytest.raises(InputError, match=r"a\.fa, line 20\d: a record of more than 1,000 letters; give promoters, not a genome"):
            records.read_sequences(tmp_path / name)
