"""Expression from DNA and RNA counts of a reporter assay: tables per barcode or per promoter to log2(RNA/DNA).

Tables of MPRAsnakeflow and MPRAlib are read as they are (formats of the IGVF consortium): counts per barcode, with columns of DNA and RNA
for each replicate, and counts per oligo, with a row for each replicate. `dna_rna_model` has the statistics.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.assay import by_condition, dna_rna_model
from gpraflow.assay.count_tables import LABELS, OUTER, EmptyCounts, whole_numbers
from gpraflow.assay.dna_rna_model import Activity
from gpraflow.assay.expression import training_weights
from gpraflow.assay.sheet import Row
from gpraflow.core import conditions
from gpraflow.core.errors import ConfigError, InputError, and_more, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats import columns as formats_columns
from gpraflow.formats.records import records
from gpraflow.formats.text import ROW, read_blocks

_MAP_NAMES = ("name", "oligo_name", "oligoName", "element")  # columns of a barcode map that name the promoter
_LEAST_NAMED = 0.5  # share of rows whose name must be in the design, and whose barcode may not be that of several promoters
_SEVERAL = "barcode of several promoters"


@dataclass(frozen=True)
class Counts:
    """Counts of barcodes, in order of their promoters, and the labels of promoters.

    ``labels`` has ``sequence`` and, if known, ``name``, ``group``, ``split`` and ``source``, one row per promoter. ``dna`` has a column per
    DNA library, ``rna`` one per replicate, one row per barcode. ``libraries`` is the DNA library of each replicate, and ``promoter`` the
    row of ``labels`` that a barcode belongs to.
    """

    labels: pl.DataFrame
    dna: np.ndarray
    rna: np.ndarray
    replicates: list[str]
    libraries: list[int]
    promoter: np.ndarray


def read_counts(
    path: str | os.PathLike,
    sheet: Sequence[Row],
    columns: Mapping[str, str | int],
    *,
    barcodes: str | os.PathLike | None,
    design: str | os.PathLike | None,
    empty: Literal["error", "zero"],
    minimum_dna: int,
    ambiguous: Literal["error", "n"] = "error",
    ledger: Ledger,
) -> Counts:
    """Read a table of DNA and RNA counts per barcode or per promoter.

    Parameters
    ----------
    path
        TSV, CSV (plain, .gz or .zst) or Parquet file with a header.
    sheet
        ``replicate``, ``dna`` and ``rna``: names of the columns with the counts of each replicate. If the table has a column of replicates
        (``columns["replicate"]``), each of its rows holds one replicate.
    columns
        ``sequence``, ``name``, ``barcode``, ``condition``, ``replicate``, ``group``, ``split``, ``source`` -> column, as for
        `tables.ingest`. ``condition`` is given only if ``sheet`` has one condition of several, whose rows are read.
    barcodes
        Table with the promoter of each barcode: columns ``barcode`` and ``name`` (or ``oligo_name``, ``oligoName``, ``element``) or
        ``sequence``; or two columns without a header, barcode and name. None if the table of counts names promoters itself.
    design
        FASTA or table with the sequence of each name; None if sequences come from the tables.
    empty
        Treatment of empty cells, NA and NaN: ``error``, or ``zero`` to count them as 0.
    minimum_dna
        Minimum DNA counts of a barcode in all libraries together.
    ambiguous
        As for `columns.check_sequences`.
    ledger
        Records rows read, dropped and merged.

    Raises
    ------
    InputError
        If a count is empty, negative or not an integer, a replicate is unknown or missing, less than half of the rows can be assigned to a
        sequence, more than half of them have a barcode of several promoters, no barcode has enough DNA, or rows of one promoter differ in
        ``group``, ``split`` or ``source``; with file and row.
    ConfigError
        If a column is missing, or nothing says which sequence a row belongs to.
    """
    named = sorted({row[kind] for row in sheet for kind in ("dna", "rna")})
    gaps, parts = EmptyCounts(path, empty), []
    for rows, names in read_blocks(path, "auto", True):
        ledger.read(rows.height)
        _check_columns(names, sheet, path)
        wanted = _roles(columns, names, barcodes, design, path)
        block = formats_columns.select_columns(rows, {**wanted, **{f"count {name}": name for name in named}}, path)
        if "sequence" in wanted:
            block = formats_columns.check_sequences(block, path, ledger, ambiguous=ambiguous, key="input.ambiguous")
        for name in named:
            block = whole_numbers(block, f"count {name}", path, True, gaps)
        parts.append(block.with_columns(pl.col(name).cast(pl.String).str.strip_chars() for name in OUTER if name in wanted))
    if not parts:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")
    gaps.finish(ledger)
    table, libraries = _by_replicate(_of_condition(pl.concat(parts), sheet, path, ledger), sheet, path, ledger)
    table = _with_sequences(table, path, barcodes, design, ambiguous, ledger)
    table = _without_shared_barcodes(table, path, ledger)
    dna = [f"dna {number}" for number in range(max(libraries) + 1)]
    rna = [f"rna {number}" for number in range(len(sheet))]
    kept = table.filter(pl.sum_horizontal(dna) >= minimum_dna)
    ledger.drop(f"fewer than {minimum_dna} DNA counts", table.height - kept.height)
    if kept.is_empty():
        raise InputError(
            f"{path}: no row has {minimum_dna} DNA counts or more (counts.minimum_dna); is the DNA column of the sample sheet right?"
        )
    for number, row in enumerate(sheet):
        for kind, column in (("dna", f"dna {libraries[number]}"), ("rna", f"rna {number}")):
            if not kept[column].sum():
                raise InputError(
                    f"{path}: all {kind.upper()} counts of replicate '{row['replicate']}' are 0; check its column in the sample sheet"
                )
    labels = _labels(kept, path, ledger)
    of_sequence = labels.select("sequence").with_row_index("promoter")
    kept = kept.join(of_sequence, on="sequence", maintain_order="left").sort("promoter", maintain_order=True)
    ledger.drop(by_condition.BARCODE, kept.height - labels.height)
    counts = kept.select(dna).to_numpy(), kept.select(rna).to_numpy()
    return Counts(labels, *counts, [row["replicate"] for row in sheet], libraries, kept["promoter"].to_numpy().astype(np.int64))


def _check_columns(names: Sequence[str], sheet: Sequence[Row], path: Any) -> None:
    """Raise an error for a column of the sample sheet that the table lacks."""
    for row in sheet:
        for kind in ("dna", "rna"):
            if row[kind] not in names:
                raise ConfigError(
                    f"{path}, row 1: no column '{row[kind]}', which the sample sheet has as {kind} of replicate '{row['replicate']}'"
                    f"{nearest(row[kind], names)} ({formats_columns.listed(names)}); correct counts.sample_sheet"
                )


def _roles(columns: Mapping[str, str | int], names: list[str], barcodes: Any, design: Any, path: Any) -> dict[str, str]:
    """Return role -> column of the table, and check that they say which sequence a row belongs to."""
    if "sequence" not in names and (barcodes or design) and columns["sequence"] == "sequence":
        columns = {**columns, "sequence": ""}
    wanted = formats_columns.resolve_columns(with_names(columns, names), names, True, path, "counts", ())
    if barcodes and "barcode" not in wanted:
        raise ConfigError(f"{path}: counts.barcodes needs the column of barcodes; set counts.columns.barcode")
    if "sequence" not in wanted and not barcodes and "name" not in wanted:
        raise ConfigError(f"{path}: no column of sequences or names; set counts.columns.name ({formats_columns.listed(names)})")
    return wanted


def with_names(columns: Mapping[str, str | int], names: Sequence[str]) -> dict[str, str | int]:
    """Return columns in which ``auto`` of barcodes and names also takes what versions of MPRAsnakeflow call them, if only one is there."""
    others = {"barcode": [name for name in names if name.lower() == "barcode"], "name": [name for name in _MAP_NAMES if name in names]}
    found = {role: there[0] for role, there in others.items() if columns.get(role) == "auto" and role not in names and len(there) == 1}
    return {**columns, **found}


def _of_condition(rows: pl.DataFrame, sheet: Sequence[Row], path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return the rows of the condition of ``sheet``, if the table has a column of conditions."""
    if "condition" not in rows.columns:
        return rows
    name = sheet[0]["condition"]
    own = rows.filter(pl.col("condition") == name)
    if own.is_empty():
        there = ", ".join(rows["condition"].drop_nulls().unique(maintain_order=True).head(8))
        raise InputError(f"{path}: no row of condition '{name}', which the sample sheet has (the file has {there}); correct one of them")
    ledger.drop(by_condition.OTHER, rows.height - own.height)
    return own.drop("condition")


def _by_replicate(rows: pl.DataFrame, sheet: Sequence[Row], path: Any, ledger: Ledger) -> tuple[pl.DataFrame, list[int]]:
    """Return the table with columns ``dna 0``, ..., ``rna 0``, ..., one row per barcode or promoter; and the replicates' DNA libraries."""
    if "replicate" not in rows.columns:
        of_rna = [row["rna"] for row in sheet]
        if repeated := [name for name in of_rna if of_rna.count(name) > 1]:
            raise ConfigError(
                f"{path}: several replicates of the sample sheet have the RNA column '{repeated[0]}', but the table has no column of "
                "replicates; name it in counts.columns.replicate, or correct counts.sample_sheet"
            )
        of_dna = list(dict.fromkeys(row["dna"] for row in sheet))
        counts = {f"dna {number}": pl.col(f"count {name}") for number, name in enumerate(of_dna)}
        counts |= {f"rna {number}": pl.col(f"count {row['rna']}") for number, row in enumerate(sheet)}
        libraries = [of_dna.index(row["dna"]) for row in sheet]
        return rows.with_columns(**counts).select(pl.exclude("^count .*$")), libraries
    replicates = [row["replicate"] for row in sheet]
    if hit := formats_columns.first_row(rows, ~pl.col("replicate").is_in(replicates) | pl.col("replicate").is_null()):
        raise InputError(
            f"{path}, row {hit[0]}: replicate '{hit[1]['replicate'] or ''}' is not in the sample sheet ({', '.join(replicates)})"
            f"{and_more(hit[2])}; add a row to counts.sample_sheet"
        )
    if missing := [name for name in replicates if name not in rows["replicate"].unique()]:
        raise InputError(f"{path}: no row of replicate '{missing[0]}', which the sample sheet has; correct counts.sample_sheet")
    counts = {
        f"{kind} {number}": pl.when(pl.col("replicate") == row["replicate"]).then(pl.col(f"count {row[kind]}")).otherwise(0)
        for number, row in enumerate(sheet)
        for kind in ("dna", "rna")
    }
    keys = [name for name in ("barcode", "name", "sequence") if name in rows.columns]
    rows = rows.with_columns(**counts).select(pl.exclude("^count .*$", "replicate")).with_columns(pl.col(keys).fill_null(""))
    first = [pl.col(name).first() for name in rows.columns if name not in {*keys, *counts}]
    joined = rows.group_by(keys, maintain_order=True).agg(*first, pl.col(list(counts)).sum())
    ledger.drop(by_condition.REPLICATE, rows.height - joined.height)
    blank = [pl.when(pl.col(key) != "").then(pl.col(key)).alias(key) for key in keys]
    return joined.with_columns(blank), list(range(len(sheet)))


def _with_sequences(
    table: pl.DataFrame, path: Any, barcodes: Any, design: Any, ambiguous: Literal["error", "n"], ledger: Ledger
) -> pl.DataFrame:
    """Return the rows whose sequence is known, from the table, the barcode map or the design."""
    height = table.height
    if barcodes:
        table = _assign_barcodes(table, read_barcodes(barcodes, ledger, ambiguous), ledger)
    if "sequence" not in table.columns:
        if not design:
            raise ConfigError(f"{path}: promoters are named, but their sequences are not known; set counts.design to a FASTA file or table")
        designs = pl.concat(list(records(design, Ledger("estimate_expression", "library"), designs=True, ambiguous=ambiguous)))
        designs = designs.select("sequence", _key=_name_key("name"))
        if hit := designs.filter(pl.col("_key").is_duplicated())["_key"].head(1).to_list():
            raise InputError(f"{design}: the name '{hit[0]}' occurs twice (blanks and brackets count as _); each may be designed once")
        known = table.with_columns(_key=_name_key("name")).join(designs, on="_key", how="left", maintain_order="left").drop("_key")
        table = known.filter(pl.col("sequence").is_not_null())
        ledger.drop("name not in the design", known.height - table.height)
    if table.height < _LEAST_NAMED * height:
        raise InputError(
            f"{path}: only {table.height:,} of {height:,} rows belong to a known sequence; check the names in "
            f"{' and '.join(str(each) for each in (barcodes, design) if each)}"
        )
    return table


def _name_key(column: str) -> pl.Expr:
    """Return names as MPRAsnakeflow writes them: blanks and square brackets are underscores."""
    return pl.col(column).cast(pl.String).str.replace_all(r"[\s\[\]]", "_")


def read_barcodes(path: str | os.PathLike, ledger: Ledger, ambiguous: Literal["error", "n"] = "error") -> pl.DataFrame:
    """Read the map from barcodes to promoters: columns ``barcode``, and ``name``, ``sequence`` or both.

    Barcodes of several promoters have a row for each, and are noted in the ledger.

    Parameters
    ----------
    path
        See `read_counts`.
    ledger
        Records barcodes of several promoters.
    ambiguous
        As for `columns.check_sequences`.

    Raises
    ------
    InputError, ConfigError
        If the file cannot be read, or has neither a header with the columns above nor two columns.
    """
    parts = []
    rows, first = next(read_blocks(path, "auto", False), (pl.DataFrame(), []))
    cells = [str(cell) for cell in rows.drop(ROW, strict=False).row(0)] if rows.height else []
    first = next((names for _, names in read_blocks(path, "auto", True)), first)  # a file of one line has no header
    header = any(name.lower() == "barcode" for name in first)
    if not header and any(cell.strip().lower() == "barcode" for cell in cells):
        raise InputError(f"{path}: a header and no rows; give the promoter of each barcode")
    if not header and len(first) < 2:
        raise ConfigError(f"{path}: one column; a barcode map needs two, barcode and name")
    for rows, names in read_blocks(path, "auto", header):
        if header:
            roles = {"barcode": next(name for name in names if name.lower() == "barcode")}
            of_promoter = {
                "name": [name for name in _MAP_NAMES if name in names],
                "sequence": [name for name in names if name == "sequence"],
            }
            roles |= {role: columns[0] for role, columns in of_promoter.items() if columns}
        else:
            roles = {"barcode": names[0], "name": names[1]}
        if len(roles) == 1:
            raise ConfigError(f"{path}, row 1: no column for the promoter of a barcode; name it {', '.join(_MAP_NAMES)} or sequence")
        block = formats_columns.select_columns(rows, roles, path)
        if "sequence" in roles:
            block = formats_columns.check_sequences(block, path, ledger, ambiguous=ambiguous, key="input.ambiguous")
        parts.append(block)
    pairs = pl.concat(parts).drop("row").unique(maintain_order=True)
    ledger.note("barcodes of several promoters in the map, not used", len(_shared(pairs)))
    return pairs


def _shared(rows: pl.DataFrame) -> pl.Series:
    """Return the barcodes of several promoters: of several sequences or, where these are not known, of several names."""
    promoter = "sequence" if "sequence" in rows.columns else "name"
    pairs = rows.select("barcode", promoter).drop_nulls().unique()
    return pairs.filter(pl.col("barcode").is_duplicated())["barcode"].unique()


def _without(table: pl.DataFrame, shared: pl.Series, ledger: Ledger) -> pl.DataFrame:
    """Return the rows of other barcodes than the shared ones."""
    kept = table.filter(~pl.col("barcode").is_in(shared.to_list()).fill_null(False))
    ledger.drop(_SEVERAL, table.height - kept.height)
    return kept


def _without_shared_barcodes(table: pl.DataFrame, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return the rows of a table whose barcode is that of one promoter, or which have none."""
    if "barcode" not in table.columns:
        return table
    kept = _without(table, _shared(table), ledger)
    if kept.height < _LEAST_NAMED * table.height:
        raise InputError(
            f"{path}: {table.height - kept.height:,} of {table.height:,} rows have a barcode that several promoters share; such barcodes "
            "cannot be used. If the column holds no barcodes of promoters, set counts.columns.barcode: ''"
        )
    return kept


def _assign_barcodes(table: pl.DataFrame, barcodes: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Return the rows whose barcode is in the map and that of one promoter, with its name and sequence."""
    own = [name for name in barcodes.columns if name != "barcode"]
    shared = _shared(barcodes)
    table = _without(table, shared, ledger)
    of_one = barcodes.filter(~pl.col("barcode").is_in(shared.to_list())).unique("barcode", keep="first", maintain_order=True)
    joined = table.drop(own, strict=False).join(of_one, on="barcode", how="inner", maintain_order="left")
    ledger.drop("barcode not in the map", table.height - joined.height)
    return joined


def _labels(table: pl.DataFrame, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return the labels of each promoter, in order of first occurrence."""
    names = [name for name in LABELS if name in table.columns]
    table = formats_columns.check_labels(table, ["sequence"], path, "counts", [name for name in names if name != "name"])
    if "name" in names:
        ledger.note(formats_columns.SEVERAL_NAMES, formats_columns.differing(table, "name", ["sequence"])["sequence"].n_unique())
    return table.group_by("sequence", maintain_order=True).agg(pl.col(names).drop_nulls().first())


def estimate(
    counts: Counts, *, prior: str, dispersion: float | str, minimum_dna: int, ledger: Ledger
) -> tuple[Activity, dict[str, Activity]]:
    """Estimate expression from all replicates together and, if there are several, from each replicate separately.

    Parameters
    ----------
    counts
        From `read_counts`.
    prior
        ``library`` or ``weak``, see `dna_rna_model.estimate`.
    dispersion
        Dispersion of barcodes' RNA, a number, or ``auto`` to estimate it.
    minimum_dna
        As for `read_counts`.
    ledger
        Records promoters whose errors are those of counting alone.
    """
    known = None if dispersion == "auto" else float(dispersion)
    options: dict[str, Any] = {"prior": prior, "dispersion": known}
    separate = {}
    for number, name in enumerate(counts.replicates if len(counts.replicates) > 1 else ()):
        library = counts.libraries[number]
        rows = counts.dna[:, library] >= min(1, minimum_dna)
        part = counts.dna[rows][:, [library]], counts.rna[rows][:, [number]], [0], counts.promoter[rows], counts.labels.height
        separate[name] = dna_rna_model.estimate(*part, **options, least=min(1, minimum_dna))
    of_one = float(np.mean([each.shared.dispersion for each in separate.values()])) if separate else None
    together = counts.dna, counts.rna, counts.libraries, counts.promoter, counts.labels.height
    activity = dna_rna_model.estimate(*together, **options, least=minimum_dna, of_one=of_one)
    shared = activity.shared
    print(
        f"promoters have the mean {shared.mean / np.log(2):.2f} and the sd {shared.sd / np.log(2):.2f} of log2(RNA/DNA); RNA per DNA of "
        f"barcodes has the dispersion {shared.dispersion:.3f} (excess {shared.excess:.2f}), and log2(RNA/DNA) varies between replicates "
        f"with the sd {shared.replicate_sd / np.log(2):.3f}"
    )
    if not shared.dispersion_known:
        warnings.warn(
            "promoters have one row (barcode) each, so that the variation between barcodes is not known: errors are those of counting, "
            "and too small; set counts.barcode_dispersion to that of a similar library",
            stacklevel=2,
        )
        ledger.note("promoters whose error leaves out the variation between barcodes", counts.labels.height)
    return activity, separate


def to_table(counts: Counts, activity: Activity, separate: Mapping[str, Activity], *, minimum_reads: int, ledger: Ledger) -> pl.DataFrame:
    """Return the output table: labels, estimates, weights and counts of the promoters with enough reads.

    Parameters
    ----------
    counts, activity, separate
        From `read_counts` and `estimate`.
    minimum_reads
        Promoters with fewer reads, DNA and RNA together, are dropped.
    ledger
        Records them.

    Returns
    -------
    polars.DataFrame
        ``sequence``, the labels, ``expression``, ``expression_sd``, ``n_reads`` (DNA and RNA), ``n_barcodes``, ``dna``, ``rna``, ``low``,
        ``high``, ``weight`` (`expression.training_weights`); with several replicates also ``expression_{replicate}`` and
        ``n_reads_{replicate}``.
    """
    height = counts.labels.height

    def of_promoter(values: np.ndarray) -> np.ndarray:
        return np.bincount(counts.promoter, values, height).astype(np.int64)

    dna, rna = of_promoter(counts.dna.sum(axis=1)), of_promoter(counts.rna.sum(axis=1))
    table = counts.labels.with_columns(
        expression=activity.expression,
        expression_sd=activity.standard_error,
        n_reads=dna + rna,
        n_barcodes=of_promoter(np.ones(len(counts.promoter))),
        dna=dna,
        rna=rna,
        low=activity.low,
        high=activity.high,
    )
    for number, (name, own) in enumerate(separate.items()):
        reads = of_promoter(counts.dna[:, counts.libraries[number]] + counts.rna[:, number])
        table = table.with_columns(pl.Series(f"expression_{name}", own.expression).fill_nan(None), pl.Series(f"n_reads_{name}", reads))
    kept = table.filter(pl.col("n_reads") >= minimum_reads)
    ledger.drop(f"fewer than {minimum_reads} reads", table.height - kept.height)
    weight = training_weights(kept["expression"].to_numpy(), kept["expression_sd"].to_numpy())
    weight = weight / max(weight.mean(), 1e-300) if len(weight) else weight
    kept = kept.insert_column(kept.columns.index("high") + 1, pl.Series("weight", weight))
    return kept.with_columns(pl.col(pl.Float64).cast(pl.Float32))


def expression_table(
    path: str | os.PathLike,
    sheet: Sequence[Row],
    columns: Mapping[str, str | int],
    options: Mapping[str, Any],
    ledger: Ledger,
    *,
    barcodes: str | os.PathLike | None = None,
    design: str | os.PathLike | None = None,
) -> pl.DataFrame:
    """Return the expression table of a DNA/RNA assay: `read_counts`, `estimate` and `to_table`, for each condition of the sheet.

    Parameters
    ----------
    path, sheet, columns, ledger
        As for `read_counts`.
    options
        ``empty``, ``ambiguous``, ``minimum_dna``, ``prior``, ``barcode_dispersion`` and ``minimum_reads``.
    barcodes, design
        As for `read_counts`.
    """
    minimum_dna = options["minimum_dna"]
    reading = {name: options[name] for name in ("empty", "ambiguous", "minimum_dna")}
    chosen = {"prior": options["prior"], "dispersion": options["barcode_dispersion"], "minimum_dna": minimum_dna}

    def of_one(condition: str, own: Ledger) -> pl.DataFrame:
        rows = [row for row in sheet if row.get("condition", "") == condition]
        counts = read_counts(path, rows, columns, barcodes=barcodes, design=design, **reading, ledger=own)
        activity, separate = estimate(counts, **chosen, ledger=own)
        return to_table(counts, activity, separate, minimum_reads=options["minimum_reads"], ledger=own)

    return by_condition.estimate(conditions.of_rows(sheet, path), of_one, ledger)
