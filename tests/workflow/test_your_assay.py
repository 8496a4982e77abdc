"""The page "Your assay": every config on it goes through the workflow, on made-up data of the shape that its row describes.

Cases also form the matrix of kinds of assay, libraries and numbers of conditions. A few run in the normal suite; all are planned there.
"""

import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import yaml

from gpraflow.app import check as app_check
from gpraflow.app import overlays
from gpraflow.app.plan import Plan
from gpraflow.assay import count_tables, dna_rna, expression
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters as formats_promoters
from gpraflow.sequences import flanks, scaffold
from gpraflow.tables import ingest
from tests.conftest import ROOT, copy_workflow, snakemake
from tests.workbook import workbook

PAGE = (ROOT / "docs/your_assay.md").read_text()
PROMOTERS = 500
CHEAP = """\
model: {name: baseline_kmer}
evaluation: {bootstrap: 100}
explain: {dataset: ""}
split: {fractions: {train: 0.8, val: 0.1, test: 0.1}}
"""
GATES = np.array([-np.inf, 2, 4, 6, np.inf])
FLANKS = scaffold.load(ROOT / "resources/scaffolds.yaml", "pTpA")
COMPLEMENT = str.maketrans("ACGT", "TGCA")


# Made-up libraries and assays


@dataclass(frozen=True)
class Library:
    """Inserts with names, the region that each belongs to, and the mean signal of their cells, 0 to 8, which follows GC content."""

    inserts: list[str]
    names: list[str]
    regions: list[str]
    signal: np.ndarray


def random_library(length=80, seed=1):
    rng = np.random.default_rng(seed)
    inserts = ["".join(rng.choice(list("ACGT"), length, p=p)) for p in rng.dirichlet([4] * 4, PROMOTERS)]
    names = [f"promoter {number}" for number in range(PROMOTERS)]
    return Library(inserts, names, names, signal_of(inserts))


def designed_library(length=80, seed=2):
    """Two variants of each of 250 native sequences, which differ by eight bases."""
    parents = random_library(length, seed)
    rng = np.random.default_rng(seed)
    inserts, names, regions = [], [], []
    for parent, name in zip(parents.inserts[: PROMOTERS // 2], parents.names, strict=False):
        variant = list(parent)
        for place in rng.choice(length, 8, replace=False):
            variant[place] = str(rng.choice([base for base in "ACGT" if base != variant[place]]))
        inserts += [parent, "".join(variant)]
        names += [f"{name}_ref".replace(" ", "_"), f"{name}_alt".replace(" ", "_")]
        regions += [name, name]
    return Library(inserts, names, regions, signal_of(inserts))


def mutants(length=160, seed=3):
    rng = np.random.default_rng(seed)
    parent = "".join(rng.choice(list("ACGT"), length))
    inserts = [parent[:place] + base + parent[place + 1 :] for place in range(length) for base in "ACGT" if base != parent[place]]
    return Library(inserts, [f"m{i}" for i in range(len(inserts))], ["parent"] * len(inserts), rng.normal(4, 1, len(inserts)))


def signal_of(inserts):
    return np.array([8 * sum(base in "GC" for base in insert) / len(insert) for insert in inserts])


def cells_of(library, signal=None, gates=GATES, seed=4, mean=40):
    """Return cells per promoter and bin: their signals are normal with sd 1."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(library.inserts)), rng.poisson(rng.gamma(4, mean / 4, len(library.inserts))))
    drawn = rng.normal((library.signal if signal is None else signal)[owner], 1)
    cells = np.zeros((len(library.inserts), len(gates) - 1), np.int64)
    np.add.at(cells, (owner, np.searchsorted(gates[1:-1], drawn)), 1)
    return cells


def of_rna(library, replicates, barcodes, seed=5):
    """Return DNA and RNA counts, ``(promoters, barcodes, replicates)``; log2(RNA/DNA) is half of the signal, less 2."""
    rng = np.random.default_rng(seed)
    dna = rng.poisson(rng.gamma(2, 15, (len(library.inserts), barcodes, 1)), (len(library.inserts), barcodes, replicates))
    return dna, rng.poisson(dna * rng.gamma(10, 0.1, dna.shape) * 2 ** (library.signal / 2 - 2)[:, None, None])


def write_table(path, columns, separator="\t"):
    path.parent.mkdir(exist_ok=True)
    content = pl.DataFrame(columns).write_csv(separator=separator).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fasta(path, library):
    path.write_text("".join(f">{name}\n{insert}\n" for name, insert in zip(library.names, library.inserts, strict=True)))


def write_reads(path, reads):
    lines = (f"@{number}\n{read}\n+\n{'I' * len(read)}\n" for number, read in enumerate(reads))
    path.write_bytes(gzip.compress("".join(lines).encode(), 1))


def reverse(text):
    return text.translate(COMPLEMENT)[::-1]


def read_of(insert, five_prime=FLANKS.five_prime):
    return f"GTGCC{five_prime}{insert}{FLANKS.three_prime}TCTTAATT"


# What each row of the page writes; each returns the counts per bin that the workflow must find, if it counts reads


def single_reads(folder, library, rng):
    cells = cells_of(library)
    for number, column in enumerate(cells.T, start=1):
        reads = [read_of(library.inserts[place]) for place in rng.permutation(np.repeat(np.arange(PROMOTERS), column))]
        write_reads(folder / f"bin_{number}.fastq.gz", reads)
    return cells


def apart(folder, library, rng):
    """The insert is in the first mate of half of the pairs and in the second of the others; the other mate is plasmid."""
    cells = cells_of(library)
    for number, column in enumerate(cells.T, start=1):
        whole = [read_of(library.inserts[place]) for place in rng.permutation(np.repeat(np.arange(PROMOTERS), column))]
        other = ["".join(rng.choice(list("ACGT"), 60)) for _ in whole]
        ends = [(a, b) if turn else (b, reverse(a)) for a, b, turn in zip(whole, other, rng.random(len(whole)) < 0.5, strict=True)]
        for mate in (0, 1):
            write_reads(folder / f"bin_{number}_R{mate + 1}.fastq.gz", [pair[mate] for pair in ends])
    return cells


def amplified(folder, library, rng):
    """Each molecule is read up to three times; UMIs differ in two bases or more, by a base that is the sum of the others."""
    cells = cells_of(library)
    for number, column in enumerate(cells.T, start=1):
        reads = []
        for place, molecules in enumerate(column):
            for code in rng.choice(4**7, molecules, replace=False):
                digits = [code // 4**power % 4 for power in range(7)]
                umi = "".join("ACGT"[digit] for digit in [*digits, sum(digits) % 4])
                reads += [read_of(library.inserts[place], umi + FLANKS.five_prime)] * int(rng.integers(1, 4))
        write_reads(folder / f"bin_{number}.fastq.gz", [reads[place] for place in rng.permutation(len(reads))])
    return cells


def of_design(folder, library, rng):
    """One read in ten has an error, and one in fifty is of no designed sequence."""
    cells = cells_of(library)
    write_fasta(folder / "design.fa", library)
    for number, column in enumerate(cells.T, start=1):
        reads = []
        for insert in (library.inserts[place] for place in rng.permutation(np.repeat(np.arange(PROMOTERS), column))):
            if rng.random() < 0.1:
                place = int(rng.integers(len(insert)))
                insert = insert[:place] + "ACGT"[("ACGT".index(insert[place]) + 1) % 4] + insert[place + 1 :]
            reads.append(read_of(insert))
        reads += [read_of("".join(rng.choice(list("ACGT"), 80))) for _ in range(len(reads) // 50)]
        write_reads(folder / f"bin_{number}.fastq.gz", reads)
    return cells


def wide(folder, library, rng):
    cells = cells_of(library)
    names = ("low", "mid_low", "mid_high", "high")
    counts = {name: rng.poisson(2 * column) for name, column in zip(names, cells.T, strict=True)}
    write_table(folder / "counts.tsv", {"sequence": library.inserts} | counts)


def long(folder, library, rng):
    rows, bins = np.nonzero(cells_of(library))
    reads = 2 * cells_of(library)[rows, bins]
    columns = {"sequence": np.array(library.inserts)[rows], "sample": [f"S{each + 1}" for each in bins], "reads": reads}
    write_table(folder / "counts.csv", columns, ",")


def per_replicate(folder, library, rng):
    for replicate in (1, 2):
        cells = cells_of(library, gates=np.array([-np.inf, 3, 5, np.inf]), seed=10 + replicate)
        seen = cells.sum(axis=1) > 0
        counts = dict(zip(("LOW", "MID", "HIGH"), cells[seen].T, strict=True))
        write_table(folder / f"rep{replicate}.csv", {"sequence": np.array(library.inserts)[seen]} | counts, ",")


def by_quantile(folder, library, rng):
    """Bins overlap by a twentieth of the population; chimeras have reads in one bin, and none in the unsorted library."""
    owner = np.repeat(np.arange(PROMOTERS), rng.poisson(60, PROMOTERS))
    signal = rng.normal(library.signal[owner], 1)
    limits = np.quantile(signal, [0.2, 0.25, 0.5, 0.75, 0.8])
    inside = np.array([signal < limits[1], (signal >= limits[0]) & (signal < limits[2]), (signal >= limits[2]) & (signal < limits[4])])
    inside = np.vstack([inside, signal >= limits[3]])
    counts = np.zeros((PROMOTERS + 20, 5), np.int64)
    np.add.at(counts, (owner, (inside * rng.random(inside.shape)).argmax(axis=0)), 3)
    counts[:PROMOTERS, 4] = 1 + rng.poisson(20, PROMOTERS)
    counts[PROMOTERS:, 1] = 2
    chimeras = [a[:40] + b[40:] for a, b in zip(library.inserts[:20], library.inserts[20:40], strict=True)]
    columns = dict(zip(("low", "mid_low", "mid_high", "high", "input"), counts.T, strict=True))
    write_table(folder / "counts.tsv", {"sequence": library.inserts + chimeras} | columns)


def designed_counts(folder, library, rng):
    names = ("low", "mid_low", "mid_high", "high")
    counts = dict(zip(names, cells_of(library).T, strict=True))
    write_table(folder / "counts.tsv", {"element": library.names, "region": library.regions, "sequence": library.inserts} | counts)


def barcodes(folder, library, rng):
    dna, rna = of_rna(library, 2, 5)
    columns = {"barcode": ["".join(rng.choice(list("ACGT"), 15)) for _ in range(5 * PROMOTERS)], "name": np.repeat(library.names, 5)}
    for replicate in (0, 1):
        columns |= {f"dna_{replicate + 1}": dna[:, :, replicate].ravel(), f"rna_{replicate + 1}": rna[:, :, replicate].ravel()}
    write_table(folder / "barcodes.tsv", columns)
    write_fasta(folder / "design.fa", library)


def promoters(folder, library, rng):
    dna, rna = (counts.sum(axis=1) for counts in of_rna(library, 2, 5))
    write_table(folder / "counts.tsv", {"sequence": library.inserts, "plasmid": dna[:, 0], "rna_1": rna[:, 0], "rna_2": rna[:, 1]})


def measured(library, rng, sd=0.5):
    return (library.signal + rng.normal(0, sd, len(library.signal))).round(4)


def in_a_spreadsheet(folder, library, rng):
    rows = zip(library.inserts, measured(library, rng).tolist(), strict=True)
    workbook(folder / "expression.xlsx", {"data": [["Promoter", "YFP"], *rows]})


def with_names(folder, library, rng):
    columns = {"element": library.names, "region": library.regions, "sequence": library.inserts, "expression": measured(library, rng)}
    write_table(folder / "expression.tsv", columns)


def barcoded(folder, library, rng):
    tags = ["".join(rng.choice(list("ACGT"), 12)) for _ in range(3 * PROMOTERS)]
    sequences = [insert + tag for insert, tag in zip(np.repeat(library.inserts, 3), tags, strict=True)]
    write_table(
        folder / "expression.tsv", {"sequence": sequences, "expression": np.repeat(library.signal, 3) + rng.normal(0, 0.5, len(tags))}
    )


def bacterial(folder, library, rng):
    bins = [line for line in (ROOT / "config/ecoli_lac_sample_sheet.tsv").read_text().splitlines()[1:] if line]
    cells = cells_of(library, library.signal * len(bins) / 8, np.array([-np.inf, *np.arange(1, len(bins)), np.inf]))
    split = rng.choice(["training", "validation", "test"], PROMOTERS, p=[0.8, 0.1, 0.1])
    columns = {"sequence": library.inserts, "set": split} | dict(zip(bins, cells.T, strict=True))
    write_table(folder / "ecoli_lac_sortseq_bins.tsv.gz", columns)


def of_overlay(file) -> Callable:
    def write(folder, library, rng):
        write_table(folder / file, {"sequence": library.inserts, "expression": measured(library, rng)})

    return write


def mprasnakeflow(folder, library, rng):
    dna, rna = of_rna(library, 3, 4)
    columns = {"barcode": ["".join(rng.choice(list("ACGT"), 15)) for _ in range(4 * PROMOTERS)], "oligo_name": np.repeat(library.names, 4)}
    for replicate in range(3):
        columns |= {f"dna_count_{replicate + 1}": dna[:, :, replicate].ravel(), f"rna_count_{replicate + 1}": rna[:, :, replicate].ravel()}
    write_table(folder / "reporter_experiment.barcode.tsv.gz", columns)
    write_fasta(folder / "design.fa", library)


def shifted(library):
    """Return the signal in a second condition, which also follows the share of A."""
    return library.signal + np.array([4 * insert.count("A") / len(insert) - 1 for insert in library.inserts])


def in_two_sorts(folder, library, rng):
    """A tenth of the promoters are missing in either condition."""
    columns = {"sequence": library.inserts}
    for seed, (name, signal) in enumerate({"glu": library.signal, "gal": shifted(library)}.items(), start=20):
        cells = cells_of(library, signal, np.array([-np.inf, 3, 5, np.inf]), seed)
        cells[seed % 10 :: 10] = 0
        columns |= {f"{name}_{of}": column for of, column in zip(("low", "mid", "high"), cells.T, strict=True)}
    write_table(folder / "counts.tsv", columns)


def in_two_cell_types(folder, library, rng):
    dna, rna = (counts.sum(axis=1) for counts in of_rna(library, 2, 5))
    other = rng.poisson(rna * 2 ** (shifted(library) - library.signal)[:, None])
    columns = {"sequence": library.inserts}
    for replicate in (0, 1):
        columns |= {f"{name}_{replicate + 1}": of[:, replicate] for name, of in {"dna": dna, "K562": rna, "HepG2": other}.items()}
    write_table(folder / "counts.tsv", columns)


def in_two_media(folder, library, rng):
    columns = {"sequence": library.inserts}
    for seed, (name, signal) in enumerate({"glu": library.signal, "gal": shifted(library)}.items()):
        values = (signal + rng.normal(0, 0.5, len(signal))).round(4)
        columns |= {f"EL_{name}": [None if place % 10 == seed else value for place, value in enumerate(values.tolist())]}
        columns |= {f"SD_{name}": [None if place % 10 == seed else 0.5 for place in range(len(signal))]}
    write_table(folder / "expression.tsv", columns)


@dataclass(frozen=True)
class Case:
    """A row of the page: what is measured (``kind``), the library, the function that writes its data, and the number of conditions."""

    kind: str
    library: str
    write: Callable
    made: Callable[[], Library]
    conditions: int = 1

    @property
    def cell(self):
        return self.conditions, self.kind, self.library


# Section of the page, or config file -> what is run
CASES = {
    "Sorted bins, reads": Case("sorted", "random", single_reads, random_library),
    "Pairs without overlap": Case("sorted", "random", apart, random_library),
    "Reads with UMIs": Case("sorted", "random", amplified, random_library),
    "Designed library, reads": Case("sorted", "designed", of_design, designed_library),
    "Sorted bins, one table": Case("sorted", "random", wide, random_library),
    "Sorted bins, long table": Case("sorted", "random", long, random_library),
    "Sorted bins, a table for each replicate": Case("sorted", "random", per_replicate, random_library),
    "Gates as quantiles, and an input sample": Case("sorted", "random", by_quantile, random_library),
    "Designed library, counts": Case("sorted", "designed", designed_counts, designed_library),
    "DNA and RNA counts of barcodes": Case("dna_rna", "designed", barcodes, lambda: designed_library(150)),
    "DNA and RNA counts of promoters": Case("dna_rna", "random", promoters, lambda: random_library(150)),
    "Table of expression": Case("table", "random", in_a_spreadsheet, random_library),
    "Designed library, expression": Case("table", "designed", with_names, lambda: designed_library(150)),
    "Barcoded constructs": Case("table", "random", barcoded, lambda: random_library(100)),
    "Mutants of one parent": Case("table", "designed", with_names, mutants),
    "Several conditions, sorted bins": Case("sorted", "random", in_two_sorts, random_library, 2),
    "Several conditions, DNA and RNA": Case("dna_rna", "designed", in_two_cell_types, lambda: designed_library(150), 2),
    "Several conditions, expression": Case("table", "random", in_two_media, random_library, 2),
    "config/ecoli_lac.yaml": Case("sorted", "designed", bacterial, lambda: random_library(75)),
    "config/utr5.yaml": Case("table", "random", of_overlay("utr5.tsv.gz"), lambda: random_library(50)),
    "config/plant_core_promoters.yaml": Case("table", "designed", of_overlay("plant_core_promoters.tsv.gz"), lambda: designed_library(170)),
    "config/human_mpra_230.yaml": Case("table", "designed", of_overlay("human_mpra.tsv.gz"), lambda: designed_library(200)),
    "config/human_mpra_200.yaml": Case("table", "designed", of_overlay("human_mpra.tsv.gz"), lambda: designed_library(200)),
    "config/mprasnakeflow.yaml": Case("dna_rna", "designed", mprasnakeflow, lambda: designed_library(200)),
}
# Cells of the matrix that have no row of their own: the config of a section, and another library
OTHERS = {
    "Several conditions, sorted bins": Case("sorted", "designed", in_two_sorts, designed_library, 2),
    "Several conditions, DNA and RNA": Case("dna_rna", "random", in_two_cell_types, lambda: random_library(150), 2),
    "Several conditions, expression": Case("table", "designed", in_two_media, designed_library, 2),
}
OF_READS = ["Sorted bins, reads", "Pairs without overlap", "Reads with UMIs", "Designed library, reads"]


def sections() -> dict[str, dict[str, str]]:
    """Return section of the page -> the files that it gives, by the name in their first line."""
    parts = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    blocks = {title: re.findall(r"^```(?:yaml|csv)\n# (\S+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL) for title, text in parts}
    return {title: dict(files) for title, files in blocks.items()}


def write(folder, name, case=None) -> tuple[str, Library, np.ndarray | None]:
    """Write config, sheet and made-up data of a case; return the config, the library, and the counts that are to be found, if any."""
    case = case or CASES[name]
    copy_workflow(folder)
    (folder / "data").mkdir()
    for path, text in sections().get(name, {}).items():
        (folder / path).write_text(f"# {path}\n{text}")
    (folder / "cheap.yaml").write_text(CHEAP)
    library = case.made()
    found = case.write(folder / "data", library, np.random.default_rng(7))
    return "config/mine.yaml" if name in sections() else name, library, found


def run(folder, config, *until):
    done = snakemake(folder, "--configfile", config, "cheap.yaml", *until)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "results" / yaml.safe_load((folder / config).read_text())["run"]


def rows_of_the_page() -> Iterator[tuple[str, str]]:
    """Yield each row of the decision table, and the section or the configs that it names."""
    for line in PAGE.split("\n## ")[0].splitlines():
        if line.startswith("| ") and not line.startswith("| you have"):
            what, _, start = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"\[(.+?)\]\(#|`(config/\w+\.yaml)`", start):
                yield what, "".join(name)


def test_every_row_of_the_page_is_a_case_and_every_case_a_row():
    assert sorted(name for _, name in rows_of_the_page()) == sorted(CASES)
    assert [name for name in CASES if not name.startswith("config/")] == list(sections())


def test_the_matrix_of_assays_and_libraries_is_complete():
    needed = set(itertools.product([1, 2], ["sorted", "dna_rna", "table"], ["random", "designed"]))
    assert needed <= {case.cell for case in [*CASES.values(), *OTHERS.values()]}


@pytest.mark.parametrize("name", sections())
def test_a_config_of_the_page_is_ten_lines_and_is_understood(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    files = sections()[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert len(files["config/mine.yaml"].splitlines()) <= 11
    plan = Plan(yaml.safe_load(files["config/mine.yaml"]))
    case = CASES[name]
    assert (plan.from_bins, plan.from_dna_rna) == (case.kind == "sorted", case.kind == "dna_rna")
    assert plan.from_reads == (name in OF_READS)
    assert not plan.from_simulation
    assert plan.independent == {}
    assert len(plan.conditions) == (case.conditions if case.conditions > 1 else 0)


def table_of(plan):
    """Return the promoter table of a run from counts or from a table, without Snakemake."""
    counts, window, ledger = plan.config["counts"], plan.config["scaffold"], Ledger("estimate_expression", "library")
    path = plan.fill(plan.config["input"]["table"])
    if plan.from_bins:
        replicates = expression.check_bins(plan.bins, counts["scale"], counts["cells"], "sheet", counts["overlap"])
        places = count_tables.in_order(plan.places, replicates)
        labels, reads = count_tables.read(plan.counts, places, plan.count_columns, ledger, empty=counts["empty"])
        labels, reads = expression.in_input(labels, reads, places, counts["minimum_input_reads"], ledger)
        method = {key: counts[key] for key in ("method", "read_dispersion", "prior")}
        filters = {key: counts[key] for key in ("minimum_reads", "minimum_cells", "singletons", "singleton_weight")}
        options = {"method": method, "filters": filters, "origin": "sheet", "ledger": ledger}
        table = expression.expression_table(labels, reads, replicates, **options)
    elif plan.from_dna_rna:
        table = dna_rna.expression_table(plan.counts[0], plan.sheet, plan.count_columns, plan.dna_rna_options, ledger, **plan.dna_rna_files)
    if plan.from_counts:
        formats_promoters.write(table, path)
    constant, own = scaffold.load(plan.scaffolds, window["name"]), plan.table_of("library")
    policy = {key: window[key] for key in ("add_missing_flanks", "damaged_flanks", "max_flank_edits", "insert_length", "outside_length")}
    policy |= {"duplicates": own["duplicates"], "segments": window["segments"], "barcodes": own["barcodes"]}
    reading = plan.reading_of("library")
    return ingest.ingest(
        path, scaffold=constant, policy=flanks.Policy(**policy), ledger=Ledger("ingest_table", "library"), **reading
    ), ledger


def errors_of_check(config):
    """Return what `gpraflow check`, with which `make run` begins, would stop a run with."""
    return app_check.check(overlays.read([config, "cheap.yaml"], [])).errors


def check(table, plan, library):
    """Check that a promoter table holds the promoters of a made-up library, with expression that follows their signal."""
    assert 0.9 * PROMOTERS <= table.height <= len(library.inserts)
    constant = scaffold.load(plan.scaffolds, plan.config["scaffold"]["name"])
    inserts = [text.removeprefix(constant.five_prime).removesuffix(constant.three_prime) for text in table["sequence"]]
    signal = dict(zip(library.inserts, library.signal, strict=True))
    assert np.corrcoef([signal[insert] for insert in inserts], table["expression"])[0, 1] > 0.7
    if plan.conditions:
        second = dict(zip(library.inserts, shifted(library), strict=True))
        both = table.with_columns(change=pl.Series([second[insert] - signal[insert] for insert in inserts]))
        both = both.with_columns(found=pl.col(f"expression.{plan.conditions[1]}") - pl.col(f"expression.{plan.conditions[0]}")).drop_nulls(
            "found"
        )
        assert 0.7 * PROMOTERS <= both.height <= PROMOTERS
        assert np.corrcoef(both["change"], both["found"])[0, 1] > 0.4
    if library.regions != library.names and "group" in table.columns:
        assert set(table["group"].drop_nulls()) <= set(library.regions)


@pytest.mark.parametrize("name", [name for name in CASES if name not in OF_READS])
def test_the_data_of_a_row_become_its_promoter_table(tmp_path, monkeypatch, name):
    config, library, _ = write(tmp_path / "copy", name)
    monkeypatch.chdir(tmp_path / "copy")
    plan = Plan(yaml.safe_load((tmp_path / "copy" / config).read_text()))
    (tmp_path / "copy/results" / plan.config["run"] / "expression").mkdir(parents=True)
    assert errors_of_check(config) == []
    table, ledger = table_of(plan)
    check(table, plan, library)
    if name == "Gates as quantiles, and an input sample":
        assert ledger.counts["dropped", "fewer than 1 reads in the unsorted sample"] == 20
        assert plan.unit == "SD of the population"
        assert table["expression"].mean() == pytest.approx(0, abs=0.1)
        assert table["expression"].std() < 1  # the rest of the population's variance is that within promoters


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in OF_READS[1:3] else pytest.mark.slow) for name in OF_READS])
def test_reads_are_counted_without_loss(tmp_path, monkeypatch, name):
    """The counts per bin are those of the cells, or molecules, that were sequenced."""
    config, library, expected = write(tmp_path / "copy", name)
    monkeypatch.chdir(tmp_path / "copy")
    assert errors_of_check(config) == []
    results = run(tmp_path / "copy", config, "--until", "merge_counts")
    table = pl.read_parquet(results / "counts/counts.parquet")
    found = dict(zip(table["sequence"], table.select("1", "2", "3", "4").rows(), strict=True))
    promoter = [FLANKS.five_prime + insert + FLANKS.three_prime for insert in library.inserts]
    assert found == {name: tuple(row) for name, row in zip(promoter, expected.tolist(), strict=True) if sum(row)}
    if name == "Designed library, reads":
        assert dict(table.select("sequence", "name").rows()).items() <= dict(zip(promoter, library.names, strict=True)).items()


# The first row of each cell of the matrix goes to the report, with the other cells; all other rows end with their scores.
TO_REPORT = {case.cell: name for name, case in reversed(CASES.items())}


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CASES if name not in TO_REPORT.values()])
def test_a_row_of_the_page_gives_scores(tmp_path, monkeypatch, name):
    config, library, _ = write(tmp_path / "copy", name)
    check_run(run(tmp_path / "copy", config, "--until", "evaluate_model"), config, library, CASES[name], monkeypatch)


# Every third one in CI, all before a release.
CELLS = [*((name, CASES[name]) for name in TO_REPORT.values()), *OTHERS.items()]


@pytest.mark.parametrize(
    ("name", "case"), [pytest.param(*cell, marks=pytest.mark.long if number % 3 else pytest.mark.slow) for number, cell in enumerate(CELLS)]
)
def test_a_cell_of_the_matrix_gives_a_report(tmp_path, monkeypatch, name, case):
    config, library, _ = write(tmp_path / "copy", name, case)
    results = run(tmp_path / "copy", config)
    check_run(results, config, library, case, monkeypatch)
    check_scores(results, case, library)
    captions = " ".join(re.findall(r"<figcaption.*?</figcaption>", (results / "report.html").read_text(), flags=re.DOTALL))
    assert captions
    assert bool(re.search(r"\bbins\b", captions)) == (case.kind == "sorted")


def check_run(results, config, library, case, monkeypatch):
    """Check the promoter table of a run, and the scores of each condition and of the difference."""
    folder = results.parents[1]
    monkeypatch.chdir(folder)
    plan = Plan(yaml.safe_load((folder / config).read_text()))
    check(formats_promoters.read(results / "tables/library.parquet"), plan, library)
    datasets = json.loads((results / "metrics.json").read_text())["datasets"]
    assert len(datasets) == {1: 1, 2: 3}[case.conditions]
    for dataset, scores in datasets.items():
        assert scores["n"] >= 10
        if case.made is not mutants and "-" not in dataset:
            assert scores["r"] > 0.5  # of about 50 promoters


def check_scores(results, case, library):
    """Check what is particular to an assay or to several conditions."""
    if case.kind == "dna_rna":
        estimated = pl.read_parquet(results / "expression/promoters.parquet")
        assert case.write is not barcodes or (set(estimated["name"]) == set(library.names) and estimated["n_barcodes"].max() == 5)
    if case.conditions == 1:
        return
    datasets = json.loads((results / "metrics.json").read_text())["datasets"]
    (difference,) = (name for name in datasets if "-" in name)
    names = difference.removeprefix("test.").split("-")
    assert set(datasets) == {difference, *(f"test.{name}" for name in names)}
    for name in names:
        assert datasets[difference]["ceiling"]["r"] < datasets[f"test.{name}"]["ceiling"]["r"]
    assert (results / f"figures/predictions/{difference}.svg").is_file()
    table = pl.read_parquet(results / "predictions/test.parquet")
    columns = {f"predicted.{names[1]}", f"predicted_low.{'-'.join(names)}", f"expression_sd.{names[0]}"}
    assert columns <= set(table.columns)
