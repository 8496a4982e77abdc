"""What is fuzzed: a valid file, how it is mutated, the library's reader, and an independent reader of what was accepted."""

import contextlib
import csv
import hashlib
import io
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from gpraflow.app.plan import Plan
from gpraflow.assay import count_tables, dna_rna, inserts, matching, reads, sheet
from gpraflow.core import config as configs
from gpraflow.core import schema as schemas
from gpraflow.core.ledger import Ledger
from gpraflow.formats import records, transform
from gpraflow.models import about
from gpraflow.prediction import background, calibration, recalibrate, regions, variants
from gpraflow.sequences import flanks, motif_files, scaffold
from gpraflow.shards import manifest, upload, write
from gpraflow.tables import downloads, ingest
from tests.core.test_documents import BACKGROUND, CALIBRATION, MODEL, RECEIPT
from tests.fuzz import models, mutations, workbooks

NO_FLANKS = scaffold.Scaffold("none", "", "")


@dataclass(frozen=True)
class Target:
    """A kind of input.

    ``name`` is that of the file; ``example`` writes a valid one; ``read`` is the library's reader; ``differs`` compares what it accepted
    with an independent reading of the file's bytes, and returns what differs, or an empty string; ``weight`` is the share of inputs.
    """

    name: str
    example: Callable[[random.Random], bytes]
    mutate: mutations.Mutation
    read: Callable[[Path], Any]
    differs: Callable[[bytes, Any], str] = lambda content, found: ""
    weight: float = 1.0


def dna(rng: random.Random, length: int = 24) -> str:
    return "".join(rng.choices("ACGT", k=length))


def joined(rows: list[list[Any]], separator: str = "\t") -> bytes:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


# Tables


def table(separator: str) -> Callable[[random.Random], bytes]:
    def example(rng: random.Random) -> bytes:
        rows = [["sequence", "expression", "n_reads", "name"]]
        rows += [[dna(rng), round(rng.gauss(5, 2), 3), rng.randrange(500), f"p{i}"] for i in range(rng.choice([1, 3, 8]))]
        return joined(rows, separator)

    return example


def read_table(path: Path) -> Any:
    policy = flanks.Policy(insert_length=(1, 1000), duplicates="first")
    columns = dict.fromkeys(("name", "n_reads", "group", "split", "bin_cells"), "auto") | {
        "sequence": "sequence",
        "expression": "expression",
    }
    return ingest.ingest(path, scaffold=NO_FLANKS, policy=policy, columns=columns)


def plain_rows(content: bytes, usual: str = "\t") -> list[dict[str, str]]:
    """Return the rows of a text table as the csv module reads them, with the separator that its header has."""
    text = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\r\n")
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    comments, lines = lines[:first], lines[first:]
    bare = re.sub('"[^"]*"', "", lines[0])
    sign = next((sign for sign in (usual, "\t", ";", ",", " ") if sign in bare), usual)
    if comments and "sequence" not in lines[0]:
        lines = [comments[-1].lstrip("# "), *lines]
    quoted = '"' in text
    rows = [next(csv.reader([line], delimiter=sign), [""]) if quoted else line.split(sign) for line in lines]
    header = [cell.strip() for cell in next(csv.reader([lines[0]], delimiter=sign))]
    if len(rows) > 1 and len(rows[1]) == len(header) + 1:
        header = ["row.names", *header]
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def table_differs(content: bytes, found: pl.DataFrame, usual: str = "\t") -> str:
    expected: dict[str, tuple[float, float | None]] = {}
    for row in plain_rows(content, usual):
        reads_of_row = row.get("n_reads", "").strip()
        number = None if reads_of_row.lower() in ("", "na", "n/a", "#n/a", "nan", "null", "none") else float(reads_of_row)
        expected.setdefault(row["sequence"].strip().upper(), (float(np.float32(row["expression"])), number))
    got = dict(zip(found["sequence"], zip(found["expression"], found["n_reads"], strict=True), strict=True))
    return "" if got == expected else f"{expected} became {got}"


def controls_example(rng: random.Random) -> bytes:
    rows = [["sequence", "expression", "n_reads"], *([dna(rng), round(rng.gauss(5, 2), 3), rng.randrange(500)] for _ in range(4))]
    return joined(rows)


class _Bare:
    """A model without flanks, of one condition."""

    conditions = ()

    def of(self, _: str) -> "_Bare":
        return self

    def complete(self, rows: pl.DataFrame, *_: Any) -> pl.DataFrame:
        return rows


def read_controls(path: Path) -> pl.DataFrame:
    columns = {"sequence": "auto", "expression": "expression", "n_reads": "auto"}
    model: Any = _Bare()
    return recalibrate.read_controls(model, path, columns, Ledger("x", "y"))


def controls_differ(content: bytes, found: pl.DataFrame) -> str:
    expected = []
    for row in plain_rows(content):
        reads_of_row = row.get("n_reads", "").strip()
        number = None if reads_of_row.lower() in ("", "na", "n/a", "#n/a", "nan", "null", "none") else float(reads_of_row)
        expected.append((row["sequence"].strip().upper(), float(row["expression"]), number))
    got = list(found.select("sequence", "expression", "n_reads").iter_rows())
    return "" if got == expected else f"{expected} became {got}"


def counts_example(rng: random.Random) -> bytes:
    rows = [["sequence", "b1", "b2"], *([dna(rng), rng.randrange(50), rng.randrange(50)] for _ in range(rng.choice([1, 4])))]
    return joined(rows)


def read_counts(path: Path) -> Any:
    bins = [sheet.CountColumn(name, 0, name, False) for name in ("b1", "b2")]
    return count_tables.read([path], bins, {"sequence": "sequence"}, Ledger("x", "y"))


def counts_differ(content: bytes, found: tuple[pl.DataFrame, np.ndarray]) -> str:
    expected: Counter = Counter()
    for row in plain_rows(content):
        for name in ("b1", "b2"):
            expected[row["sequence"].strip().upper(), name] += int(float(row[name]))
    got = {
        (sequence, name): int(n)
        for sequence, row in zip(found[0]["sequence"], found[1], strict=True)
        for name, n in zip(("b1", "b2"), row, strict=True)
    }
    return "" if got == dict(expected) else f"{dict(expected)} became {got}"


DNA_RNA_SHEET: list[dict[str, Any]] = [{"replicate": name, "dna": f"dna_{name}", "rna": f"rna_{name}"} for name in "ab"]
DESIGN = {"p1": "ACGTACGTAC", "p2": "TTTTGGGGCC", "p3": "CATCATCATC"}
BARCODES = {"AAAA": "p1", "CCCC": "p1", "GGGG": "p2", "TTTT": "p3"}


def design_beside(path: Path) -> Path:
    """Write the designed sequences beside a file."""
    (path.parent / "design.fa").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in DESIGN.items()))
    return path.parent / "design.fa"


def dna_rna_example(rng: random.Random) -> bytes:
    counts = ["dna_a", "rna_a", "dna_b", "rna_b"]
    rows = [["barcode", "name", *counts], *([code, name, *(rng.randrange(1, 50) for _ in counts)] for code, name in BARCODES.items())]
    return joined(rows)


def read_dna_rna(path: Path) -> dna_rna.Counts:
    columns = {"sequence": "sequence", "name": "name", "barcode": "barcode", "replicate": "", "group": "auto"}
    options: dict[str, Any] = {"barcodes": None, "design": design_beside(path), "empty": "error", "minimum_dna": 1}
    return dna_rna.read_counts(path, [sheet.Row(row) for row in DNA_RNA_SHEET], columns, **options, ledger=Ledger("x", "y"))


def dna_rna_differs(content: bytes, found: dna_rna.Counts) -> str:
    by_key = {name.replace(" ", "_"): sequence for name, sequence in DESIGN.items()}
    expected: Counter = Counter()
    for row in plain_rows(content):
        dna = [int(float(row[each["dna"]])) for each in DNA_RNA_SHEET]
        sequence = by_key.get(row["name"].strip())
        if sequence and sum(dna) >= 1:
            expected += Counter({(sequence, *dna, *(int(float(row[each["rna"]])) for each in DNA_RNA_SHEET)): 1})
    sequences = found.labels["sequence"][found.promoter]
    got = Counter(tuple(row) for row in zip(sequences, *found.dna.T.tolist(), *found.rna.T.tolist(), strict=True))
    return "" if got == expected else f"{expected} became {got}"


def barcodes_differ(content: bytes, found: pl.DataFrame) -> str:
    text = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\r\n")
    rows = [
        [re.sub('^"(.*)"$', r"\1", cell.strip()) for cell in re.split("[\t;,]", line)]
        for line in text.split("\n")
        if not line.startswith("#")
    ]
    of_barcode: dict[str, set[str]] = {}
    names = rows.pop(0) if any(cell.lower() == "barcode" for cell in rows[0]) else ["barcode", "name"]
    lower = [name.lower() for name in names]
    promoter = next(name for name in ("name", "oligo_name", "oligoName", "element", "sequence") if name in names)
    for row in rows:
        of_barcode.setdefault(row[lower.index("barcode")], set()).add(row[names.index(promoter)])
    expected = {barcode: next(iter(of)) for barcode, of in of_barcode.items() if len(of) == 1}
    got = dict(zip(found["barcode"].fill_null(""), found["name" if promoter != "sequence" else promoter].fill_null(""), strict=True))
    return "" if got == expected else f"{expected} became {got}"


def parquet_differs(content: bytes, found: pl.DataFrame) -> str:
    """Compare with the values of the file's columns as Python has them; a name or column that is no number or text must be refused."""

    def number(value: Any) -> float | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in ("", "na", "n/a", "#n/a", "nan", "null", "none")):
            return None
        return None if math.isnan(float(value)) else float(np.float32(float(value)))

    expected: dict[Any, Any] = {}
    for row in pl.read_parquet(io.BytesIO(content)).to_dicts():
        cells = row.get("bin_cells")
        cells = [part.strip() for part in cells.split(",")] if isinstance(cells, str) and cells.strip() else cells or None
        cells = [number(cell) for cell in cells] if cells else None
        labels = [str(row[key]).strip() or None if row.get(key) is not None else None for key in ("name", "group")]
        labels = [{"True": "true", "False": "false", "nan": "NaN"}.get(label or "", label) for label in labels]
        values = (number(row["expression"]), number(row.get("n_reads")), cells, *labels)
        expected.setdefault(str(row["sequence"]).strip().upper(), values)
    columns = [found[name].to_list() for name in ("expression", "n_reads", "bin_cells", "name", "group")]
    got = dict(zip(found["sequence"], zip(*columns, strict=True), strict=True))
    got = {sequence: (row[0], number(row[1]), row[2] or None, *row[3:]) for sequence, row in got.items()}
    return "" if got == expected else f"{expected} became {got}"


def parquet_example(rng: random.Random) -> bytes:
    columns: dict[str, Any] = {"sequence": [dna(rng) for _ in range(3)], "expression": [1.0, 2.5, 3.0], "bin_cells": [[1.0, 2.0]] * 3}
    role = rng.choice(["sequence", "expression", "bin_cells", "n_reads", "name", "group", "row"])
    odd: list[Any] = [
        [1, 2, 3],
        pl.Series([1, 2, 3], dtype=pl.Duration("ms")),
        pl.Series([1, 2, 3], dtype=pl.Date),
        pl.Series([1, 2, 3], dtype=pl.Decimal(10, 2)),
        pl.Series([[[1]], [[2]], [[3]]]),
        [{"a": 1}] * 3,
        [b"A", b"C", b"G"],
        ["1", "2", "3"],
        [True, False, True],
        [None, None, None],
        [float("nan"), 1.0, 2.0],
        pl.Series([["1", "2"]] * 3),
        pl.Series(["a", "b", "a"], dtype=pl.Categorical),
        pl.Series([[1.0, 2.0]] * 3, dtype=pl.Array(pl.Float64, 2)),
        pl.Series([1, 2, 3], dtype=pl.Time),
        pl.Series([2**60, 1, 2], dtype=pl.UInt64),
    ]
    if rng.random() < 0.7:
        columns[role] = rng.choice(odd)
    output = io.BytesIO()
    pl.DataFrame(columns).write_parquet(output)
    return output.getvalue()


def parquet_mutated(content: bytes, rng: random.Random) -> bytes:
    return content if rng.random() < 0.5 else mutations.of_bytes(content, rng)


# Sequences

REFERENCES = {"r1": "ACGTACGTACGTACGTTTGA", "r2": "TTTTGGGGCCCCAAAATTCA"}


def fasta_example(rng: random.Random) -> bytes:
    return "".join(f">p{i} about it\n{dna(rng, 12)}\n{dna(rng, 5)}\n" for i in range(rng.choice([1, 3]))).encode()


def read_fasta(path: Path) -> Any:
    return pl.concat(list(records.records(path, Ledger("x", "y"), ambiguous="n")))


def fasta_differs(content: bytes, found: pl.DataFrame) -> str:
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if not text.lstrip().startswith(">"):
        return ""  # a table, compared elsewhere
    expected = []
    for part in re.split("^>", text, flags=re.M)[1:]:
        title, _, sequence = part.partition("\n")
        expected.append((title.split(maxsplit=1)[0] if title.strip() else "", re.sub(r"[\s]", "", sequence).upper()))
    replaced = [(name, re.sub("[RYSWKMBDHV]", "N", sequence)) for name, sequence in expected]
    got = list(zip(found["name"], found["sequence"], strict=True))
    whole = len({name for name, _ in replaced}) < len(replaced)
    if [sequence for _, sequence in got] != [sequence for _, sequence in replaced]:
        return f"{expected} became {got}"
    named = [(a, b) for (a, _), (b, _) in zip(replaced, got, strict=True) if a and not whole]
    return "" if all(a == b for a, b in named) else f"names {named}"


def records_differ(content: bytes, found: pl.DataFrame) -> str:
    if content.lstrip().startswith((b">", b"\xef\xbb\xbf>")):
        return fasta_differs(content, found)
    expected = []
    for number, row in enumerate(plain_rows(content), start=1):
        sequence = re.sub("[RYSWKMBDHV]", "N", row["sequence"].strip().upper())
        expected.append((row.get("name", "").strip() or str(number), sequence))
    got = list(found.select("name", "sequence").iter_rows())
    return "" if got == expected else f"{expected} became {got}"


def designs_differ(content: bytes, found: pl.DataFrame) -> str:
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if not text.lstrip().startswith(">"):
        expected = [(row["name"].strip(), row["sequence"].strip().upper()) for row in plain_rows(content)]
    else:
        parts = [part.partition("\n") for part in re.split("^>", text, flags=re.M)[1:]]
        expected = [(title.strip(), re.sub(r"\s", "", sequence).upper()) for title, _, sequence in parts]
    got = list(found.select("name", "insert").iter_rows())
    return "" if got == expected else f"{expected} became {got}"


FIVE, THREE = "TTACATCAGG", "GGTTACGTCA"


def fastq_example(rng: random.Random) -> bytes:
    inner = [dna(rng, 20) for _ in range(3)]
    lines = []
    for i in range(rng.choice([1, 6])):
        read = "AC" + FIVE + rng.choice(inner) + THREE + "GT"
        lines.append(f"@r{i} 1:N:0\n{read}\n+\n{'I' * len(read)}\n")
    return "".join(lines).encode()


def read_fastq(path: Path) -> Any:
    policy = inserts.Policy(
        FIVE, THREE, max_flank_edits=0, insert_length=(1, 1000), min_yield=0, reverse_complement=False, min_mean_quality=0
    )
    return reads.count([str(path)], policy, Ledger("count_reads", "b"))


def fastq_differs(content: bytes, found: pl.DataFrame) -> str:
    lines = content.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    expected: Counter = Counter()
    for read in (line.upper().decode("latin-1") for line in lines[1::4]):
        begin = read.find(FIVE)
        end = read.find(THREE, begin + len(FIVE)) if begin >= 0 else -1
        if end > begin + len(FIVE) and not set(read[begin:end]) - set("ACGTN"):
            expected[read[begin + len(FIVE) : end]] += 1
    got = dict(zip(found["insert"], found["reads"], strict=True))
    return "" if got == dict(expected) else f"{dict(expected)} became {got}"


def beside(path: Path) -> Path:
    """Write the reference sequences beside a file."""
    (path.parent / "refs.fa").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in REFERENCES.items()))
    return path.parent / "refs.fa"


def vcf_example(rng: random.Random) -> bytes:
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for i in range(rng.choice([1, 4])):
        name = rng.choice(list(REFERENCES))
        at = rng.randrange(len(REFERENCES[name]) - 2)
        reference = REFERENCES[name][at : at + rng.choice([1, 1, 2])]
        alternative = rng.choice([rng.choice("ACGT".replace(reference[0], "")), "ACG", "T,G"])
        lines.append(f"{name}\t{at + 1}\t{rng.choice(['.', f'v{i}'])}\t{reference}\t{alternative}\t.\t.\t.")
    return ("\n".join(lines) + "\n").encode()


def read_vcf(path: Path) -> Any:
    return pl.concat(list(variants.read(beside(path), path, Ledger("x", "y"))))


def vcf_differs(content: bytes, found: pl.DataFrame) -> str:
    expected = []
    for line in content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n"):
        if line.strip() and not line.startswith("#"):
            chrom, position, _, reference, alternatives = (cell.strip() for cell in line.split("\t")[:5])
            whole, at = REFERENCES[chrom], int(position) - 1
            if whole[at : at + len(reference)] != reference.upper():
                return f"REF of {line!r} is accepted"
            for alternative in alternatives.upper().split(","):
                expected.append((whole, whole[:at] + alternative + whole[at + len(reference) :]))
    got = list(zip(found["ref"], found["alt"], strict=True))
    return "" if got == expected else f"{expected} became {got}"


def bed_example(rng: random.Random) -> bytes:
    rows = [["chr1", at := rng.randrange(100), at + 20, name, 0, rng.choice("+-")] for name in REFERENCES]
    return joined(rows)


def read_bed(path: Path) -> Any:
    return regions.Regions(path, REFERENCES, "refs.fa")


def bed_differs(content: bytes, found: regions.Regions) -> str:
    seen = 0
    for line in content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n"):
        if line.strip() and not line.startswith(("#", "track", "browser")):
            chrom, start, end, name, _, strand = (cell.strip() for cell in line.split("\t")[:6])
            places, _ = found.places(chrom, int(start), int(end))
            seen += 1
            if (name, 0, strand == "-") not in [tuple(place) for place in places]:
                return f"{line!r} is not found"
    return "" if seen else "no line"


# Motifs


def jaspar_example(rng: random.Random) -> bytes:
    lines = []
    for i in range(rng.choice([1, 3])):
        counts = np.array([[rng.randrange(1, 50) for _ in range(6)] for _ in "ACGT"])
        lines += [f">MA{i}.1 FACTOR{i}", *(f"{base}  [{' '.join(map(str, row))} ]" for base, row in zip("ACGT", counts, strict=True)), ""]
    return "\n".join(lines).encode()


def meme_example(rng: random.Random) -> bytes:
    lines = ["MEME version 4", "", "ALPHABET= ACGT", ""]
    for i in range(rng.choice([1, 2])):
        lines += [f"MOTIF M{i} FACTOR{i}", "letter-probability matrix: alength= 4 w= 5 nsites= 20 E= 0"]
        lines += [rng.choice(["0.25 0.25 0.25 0.25", "0.7 0.1 0.1 0.1", "0 1 0 0"]) for _ in range(5)] + [""]
    return "\n".join(lines).encode()


def transfac_example(rng: random.Random) -> bytes:
    lines = []
    for i in range(rng.choice([1, 2])):
        lines += [f"AC M{i}", "XX", f"ID FACTOR{i}", "P0 A C G T", *(f"0{j} {rng.randrange(9)} 2 3 4 N" for j in range(1, 6)), "XX", "//"]
    return "\n".join(lines).encode()


def motifs_differ(content: bytes, found: list[motif_files.Matrix]) -> str:
    """Compare the numbers of all matrices, as a multiset, with those of the lines of numbers; and check what a matrix must be."""
    text = content.decode("utf-8-sig", errors="replace")
    given = Counter(float(word) for word in re.findall(r"(?<![^\s\[\]])[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?(?![^\s\[\]])", text))
    for matrix in found:
        if not matrix.rows or any(
            len(row) != 4 or not sum(row) or not all(math.isfinite(v) and v >= 0 for v in row) for row in matrix.rows
        ):
            return f"{matrix} is no matrix"
    used = Counter(value for matrix in found for row in matrix.rows for value in row)
    return "" if not used - given else f"{dict(used - given)} are not in the file"


# JSON and YAML


def same_json(content: bytes, found: Any) -> str:
    expected = json.loads(content)
    return "" if expected == json.loads(json.dumps(found)) else f"{expected} became {found}"


def model_differs(content: bytes, found: Any) -> str:
    return same_json(json.dumps({"conditions": []} | json.loads(content)).encode(), found)


def transform_differs(content: bytes, found: transform.Transform) -> str:
    expected = json.loads(content)
    return "" if expected == json.loads(json.dumps(asdict(found))) else f"{expected} became {found}"


DOWNLOAD = b"sequence\texpression\nACGT\t1\n"
DOWNLOADED = {"doi": "10.5281/zenodo.1", "file": "a.tsv", "checksum": f"md5:{hashlib.md5(DOWNLOAD).hexdigest()}", "bytes": len(DOWNLOAD)}


def read_download(path: Path) -> dict[str, Any]:
    """Return the receipt of a file that was downloaded before, without network."""
    (path.parent / "a.tsv").write_bytes(DOWNLOAD)
    source = downloads.Source("mine", "a.tsv", doi=DOWNLOADED["doi"])
    with contextlib.redirect_stdout(io.StringIO()):
        return downloads.fetch(path.parent / "a.tsv", source, downloads.Network(offline=True))


def download_differs(content: bytes, found: dict[str, Any]) -> str:
    """The checksum may be of another algorithm, but must be that of the file."""
    checksum = json.loads(content)["checksum"]
    algorithm, _, digest = checksum.lower().partition(":")
    right = hashlib.new(algorithm, DOWNLOAD).hexdigest() == digest
    return "" if right and found | {"checksum": ""} == DOWNLOADED | {"checksum": ""} else f"{found} is not {DOWNLOADED}"


def calibration_differs(content: bytes, found: calibration.Calibration) -> str:
    expected, got = json.loads(content), json.loads(json.dumps(asdict(found)))
    return next((f"{key}: {value} became {got.get(key)}" for key, value in expected.items() if got.get(key) != value), "")


def manifest_of(folder: Path, compression: str = "none") -> Path:
    """Write shards of three promoters; return their manifest."""
    if not (path := folder / compression / "train/manifest.json").exists():
        content = pl.DataFrame({"sequence": ["ACGT", "CCGT", "TTGT"], "expression": [1.0, 2.0, 3.0]})
        window = {"length": 4, "keep": "right", "pad": "left", "rows_per_shard": 2, "extra_features": [], "seed": 1}
        write.write(content, path, split="train", scaffold="none", compression=compression, **window)
    return path


def read_shard(folder: Path, compression: str) -> tuple[Callable[[random.Random], bytes], Callable[[Path], bytes]]:
    path = manifest_of(folder, compression)
    about_shards = manifest.parse_manifest(path.read_bytes(), "m.json")
    shard = about_shards["shards"][0]
    whole = (path.parent / shard["name"]).read_bytes()
    return lambda rng: whole, lambda mutated: manifest.verify(mutated.read_bytes(), about_shards, shard, "shard")


SCAFFOLDS = {"mine": {"five_prime": "ACGT", "three_prime": "GGTT", "organism": "yeast"}, "none": {"five_prime": "", "three_prime": ""}}
REGISTRY = {
    "mine2022": {
        "title": "Mine",
        "licence": "CC0",
        "doi": "10.5281/zenodo.1",
        "files": {"table": {"name": "a.tsv", "checksum": "md5:" + "0" * 32, "mirrors": ["https://example.org/a.tsv"]}},
    }
}
CONFIG = {
    "run": "mine",
    "seed": 3,
    "input": {"table": "a.tsv", "columns": {"sequence": "sequence", "expression": "expression"}, "header": True},
    "scaffold": {"name": "none", "length": 60, "insert_length": [10, 90]},
    "split": {"method": "hash", "names": ["train", "val", "test"]},
    "model": {"name": "slides", "preset": "small", "sizes": {}},
    "training": {"epochs": 3, "learning_rate": 0.001, "batch_size": 64},
    "evaluation": {"datasets": "", "splits": ["val", "test"]},
    "plots": {"unit": "log2 YFP/RFP"},
}


def tree_of_yaml(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return mutations.of_text(content, rng)
    return yaml.safe_dump(mutations.of_tree(yaml.safe_load(content), rng), allow_unicode=True).encode()


def full_config(rng: random.Random) -> bytes:
    """Return a config with a few of the schema's defaults written out, so that each key is mutated at some time."""
    defaults = schemas.defaults(schemas.load("config"))
    content = json.loads(json.dumps(CONFIG))
    for section in rng.sample(sorted(name for name, value in defaults.items() if isinstance(value, dict)), 4):
        content[section] = defaults[section] | content.get(section, {})
    return yaml.safe_dump(content).encode()


def changed_config(content: bytes, rng: random.Random) -> bytes:
    return yaml.safe_dump(mutations.of_tree(yaml.safe_load(content), rng), allow_unicode=True).encode()


def read_config(path: Path) -> Any:
    content = yaml.safe_load(path.read_text())  # as Snakemake does
    return Plan(content).config


def config_differs(content: bytes, found: dict[str, Any]) -> str:
    def lost(given: Any, got: Any, place: str) -> str:
        if isinstance(given, dict) and isinstance(got, dict):
            return next((problem for key, value in given.items() if (problem := lost(value, got.get(key), f"{place}.{key}"))), "")
        return "" if given == got and isinstance(given, bool) == isinstance(got, bool) else f"{place}: {given!r} became {got!r}"

    return lost(yaml.safe_load(content), found, "config")


def scaffolds_differ(content: bytes, found: scaffold.Scaffold) -> str:
    expected = yaml.safe_load(content)["mine"]
    return next((key for key in ("five_prime", "three_prime") if expected.get(key, "") != getattr(found, key)), "")


def registry_differs(content: bytes, found: dict[str, Any]) -> str:
    return config_differs(content, found)


SHEET = [
    ["bin", "reads", "lower", "upper", "cells"],
    ["low", "a.fq", "", "1.5", "1000"],
    ["mid", "b.fq,b2.fq", "1.5", "3", "2000"],
    ["high", "c.fq", "3", "", "500"],
]
DATASETS = [
    ["name", "table", "title", "header", "expression_min"],
    ["natural", "n.tsv", "Natural ones", "true", "0"],
    ["other", "{data}/o.tsv", "", "", ""],
]


def read_sheet(path: Path) -> Any:
    rows = schemas.load_sheet(path, schemas.load("sample_sheet"))
    sheet.replicates_of(rows, True, path)
    sheet.check_reads(rows, path)
    return rows


def workbook_differs(content: bytes, found: list[dict[str, Any]]) -> str:
    """Compare cells; numbers as text may be written in other ways."""

    def as_one(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.15g}")
        return f"{float(value):.15g}" if workbooks.is_number(value) else value

    found = [{key: as_one(value) for key, value in row.items()} for row in found]
    return rows_differ([[as_one(cell) for cell in row] for row in workbooks.rows_of(content)], found)


def sheet_differs(content: bytes, found: list[dict[str, Any]]) -> str:
    lines = [line for line in content.decode("utf-8-sig").replace("\r\n", "\n").split("\n") if not line.startswith("#")]
    return rows_differ([row for row in csv.reader(lines, delimiter="\t") if any(cell.strip() for cell in row)], found)


def rows_differ(rows: list[list[str]], found: list[dict[str, Any]]) -> str:
    """Compare the rows of a sheet, header first, with what was read of them."""
    header = rows[0]
    for row, got in zip(rows[1:], found, strict=True):
        given = {name: cell.strip() for name, cell in zip(header, row, strict=False) if cell.strip()}
        for name, cell in given.items():
            if name not in got and {"lower": -math.inf, "upper": math.inf}.get(name) == float(cell):
                continue  # an open gate
            value = got[name]
            as_typed = float(cell) if isinstance(value, float) else cell.lower() == "true" if isinstance(value, bool) else cell
            if as_typed != value:
                return f"{name}: {cell!r} became {value!r}"
    return ""


def targets(folder: Path) -> list[Target]:
    """Return all kinds of input; examples that need other files are written into ``folder``."""
    plain, read_plain = read_shard(folder, "none")
    packed, read_packed = read_shard(folder, "gzip")

    def yaml_of(content: Any) -> Callable[[random.Random], bytes]:
        return lambda rng: yaml.safe_dump(content).encode()

    def json_of(content: Any) -> Callable[[random.Random], bytes]:
        return lambda rng: json.dumps(content).encode()

    def shard_differs(example: Callable) -> Callable[[bytes, Any], str]:
        return lambda content, found: "" if content == example(random.Random(0)) else "a changed shard is accepted"

    text, of_json = mutations.of_text, mutations.of_json
    return [
        Target("table.tsv", table("\t"), text, read_table, table_differs, 3),
        Target("table.csv", table(","), text, read_table, lambda content, found: table_differs(content, found, ","), 2),
        Target("counts.tsv", counts_example, text, read_counts, counts_differ, 2),
        Target("counts_dna_rna.tsv", dna_rna_example, text, read_dna_rna, dna_rna_differs, 2),
        Target(
            "barcodes.tsv",
            lambda rng: joined([*([["barcode", "name"]] if rng.random() < 0.7 else []), *map(list, BARCODES.items())]),
            text,
            lambda path: dna_rna.read_barcodes(path, Ledger("x", "y")),
            barcodes_differ,
        ),
        Target("controls.tsv", controls_example, text, read_controls, controls_differ),
        Target("table.parquet", parquet_example, parquet_mutated, read_table, parquet_differs, 2),
        Target("records.fa", fasta_example, text, read_fasta, fasta_differs, 2),
        Target(
            "records.tsv", lambda rng: joined([["name", "sequence"], ["a", dna(rng)], ["b", dna(rng)]]), text, read_fasta, records_differ
        ),
        Target("designs.fa", fasta_example, text, lambda path: matching.load(path, NO_FLANKS, (1, 1000)), designs_differ),
        Target("reads.fastq", fastq_example, text, read_fastq, fastq_differs, 3),
        Target("variants.vcf", vcf_example, text, read_vcf, vcf_differs, 2),
        Target("regions.bed", bed_example, text, read_bed, bed_differs),
        Target("motifs.jaspar", jaspar_example, text, motif_files.read, motifs_differ),
        Target("motifs.meme", meme_example, text, motif_files.read, motifs_differ),
        Target("motifs.transfac", transfac_example, text, motif_files.read, motifs_differ),
        Target(
            "manifest.json",
            lambda rng: manifest_of(folder).read_bytes(),
            of_json,
            lambda path: manifest.parse_manifest(path.read_bytes(), "manifest.json"),
            same_json,
            2,
        ),
        Target("model.json", json_of({"conditions": []} | MODEL), of_json, about.read, model_differs, 2),
        Target("calibration.json", json_of(CALIBRATION), of_json, calibration.load, calibration_differs, 2),
        Target("background.json", json_of(BACKGROUND), of_json, background.load, same_json),
        Target("upload.json", json_of(RECEIPT), of_json, upload.read_receipt, same_json),
        Target(
            "transform.json",
            json_of({"name": "rank_normal", "floor": None, "values": [0.5, 1.0], "scores": [-1, 1]}),
            of_json,
            transform.read,
            transform_differs,
        ),
        Target("a.tsv.fetched.json", json_of(DOWNLOADED), of_json, read_download, download_differs),
        Target("train.tfrecord", plain, mutations.of_bytes, read_plain, shard_differs(plain)),
        Target("train.tfrecord.gz", packed, mutations.of_bytes, read_packed, shard_differs(packed)),
        Target("scaffolds.yaml", yaml_of(SCAFFOLDS), tree_of_yaml, lambda path: scaffold.load(path, "mine"), scaffolds_differ),
        Target(
            "registry.yaml",
            yaml_of(REGISTRY),
            tree_of_yaml,
            lambda path: configs.load_registry(path, schemas.load("registry")),
            registry_differs,
        ),
        Target("config.yaml", full_config, changed_config, read_config, config_differs, 3),
        Target("bins.tsv", lambda rng: joined(SHEET), text, read_sheet, sheet_differs, 2),
        Target("bins.xlsx", lambda rng: workbooks.example(SHEET), workbooks.mutated, read_sheet, workbook_differs, 2),
        Target(
            "datasets.tsv",
            lambda rng: joined(DATASETS),
            text,
            lambda path: schemas.load_sheet(path, schemas.load("datasets")),
            sheet_differs,
        ),
        Target("model.keras", models.example_in(folder / "model"), models.mutated, models.read_in(folder / "model"), models.differs),
    ]
