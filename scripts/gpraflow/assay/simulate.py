"""Simulate a sorted promoter library, from sequence to FASTQ, with known true expression; for the sample run and for tests."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

from gpraflow.assay.sheet import Row, check_reads, column_of, is_unsorted, replicate_of, split_files
from gpraflow.assay.simulated_library import Assay, Library, bin_units, gamma, make_library, replicate_gates, sort_cells
from gpraflow.assay.simulated_reads import depths, make_molecules, quality_courses, write_bin
from gpraflow.core import conditions, files, randomness
from gpraflow.core.errors import ConfigError
from gpraflow.formats.transform import NONE, Transform
from gpraflow.sequences.scaffold import Scaffold


def write(
    scaffold: Scaffold,
    motif_file: str,
    sheet: Sequence[Row],
    assay: Assay,
    seed: int,
    reads: Sequence[str],
    paths: Mapping[str, str],
    threads: int = 1,
) -> None:
    """Simulate a sorted and sequenced library; write its reads, sample sheet and true expression.

    Parameters
    ----------
    scaffold
        Flanks of the promoter, and the adjacent plasmid.
    motif_file
        Position frequency matrices in JASPAR format.
    sheet
        Rows of the sample sheet: ``bin``, ``reads``, ``lower``, ``upper``; ``reads_2`` for read pairs; ``replicate`` and
        ``condition`` if there are any; ``kind``. ``reads`` may name several files separated by commas; the reads of the bin are then
        distributed among them.
    assay
        Library sizes and noise parameters.
    seed
        Random seed. The same seed gives identical files for any number of threads.
    reads
        FASTQ files of the sheet. Only these are overwritten.
    paths
        Output files. ``bins``: the sheet with the number of cells sorted into each bin. ``truth``: sequence, mean_signal (log2), mean_bin
        (0 is the middle of the lowest bin of the first replicate), cell_sd (log2), cells, reads. ``independent``: sequence, expression
        (mean bin of its cells), expression_sd (its standard error), n_reads, n_bins, singleton. ``activities``: factor, matrix, activity,
        log_concentration, effect_sd (`simulated_library.Library`). With several conditions, columns of a condition end in its name, such as
        mean_bin.glucose, and those of the concentrations in its number from 2.
    threads
        Number of bins written in parallel.

    Raises
    ------
    ConfigError
        If the sheet lacks gates or FASTQ files, names a file twice, or names a file that is not in ``reads``.
    """
    check_reads(list(sheet), "sample sheet")
    for row in sheet:
        for name in (*split_files(row["reads"]), *split_files(row.get("reads_2", ""))):
            if name not in reads:
                raise ConfigError(f"sample sheet: {name} is not one of the simulated files, and is not overwritten")
    sorted_rows = [row for row in sheet if not is_unsorted(row)]
    replicates = replicate_gates(sorted_rows)
    inner = next(iter(replicates.values()))
    library = make_library(scaffold, motif_file, inner, assay, seed)
    count = assay.promoters
    names = conditions.of_rows(sheet, "sample sheet") or [""]
    signals = dict(zip(names, library.signal, strict=True))

    # A promoter's share of the library is the same in all replicates
    abundance = gamma(randomness.generator(seed, "simulate_assay", "abundance"), assay.cell_dispersion, count)
    owners: list[np.ndarray] = []  # for each row of the sheet, the promoter of each cell
    rows: list[Row] = []
    for replicate, gates in replicates.items():
        rng = randomness.generator(seed, "simulate_assay", "cells", replicate)
        cells = rng.poisson(assay.cells_per_promoter * abundance)
        (condition,) = {row.get("condition", "") for row in sheet if replicate_of(row) == replicate}
        bins = sort_cells(signals[condition][:count], library.cell_sd[:count], cells, gates, assay.sorting_errors, rng)
        owner = np.repeat(np.arange(count, dtype=np.int32), cells)[np.argsort(bins, kind="stable")]
        owners += np.split(owner, np.cumsum(np.bincount(bins, minlength=len(gates) + 1))[:-1])
        rows += [row for row in sorted_rows if replicate_of(row) == replicate]
    of_bins = len(rows)
    rng = randomness.generator(seed, "simulate_assay", "unsorted")
    for row in filter(is_unsorted, sheet):
        rows.append(row)
        owners.append(np.repeat(np.arange(count, dtype=np.int32), rng.poisson(assay.cells_per_promoter * abundance)))

    totals = depths(np.array([len(owner) for owner in owners]), assay, randomness.generator(seed, "simulate_assay", "depths"))
    molecules = {paired: make_molecules(scaffold, library, assay, paired) for paired in {"reads_2" in row for row in sheet}}
    qualities = quality_courses(assay, randomness.generator(seed, "simulate_assay", "qualities"))

    def sequence(row: Row, owner: np.ndarray, reads: int) -> np.ndarray:
        return write_bin(row, owner, reads, molecules["reads_2" in row], qualities, assay, seed)

    with ThreadPoolExecutor(threads) as pool:  # compression and NumPy release the GIL, so threads run in parallel
        counts = list(pool.map(sequence, rows, owners, totals))

    cells_of_row = {column_of(row): len(owner) for row, owner in zip(rows[:of_bins], owners, strict=False)}
    written = pl.DataFrame([{**row, "cells": cells_of_row.get(column_of(row))} for row in sheet], infer_schema_length=None)
    known = ("bin", "reads", "reads_2", "lower", "upper", "cells", "replicate", "condition", "kind")
    order = [name for name in known if name in written.columns]
    files.write_text(paths["bins"], written.select(order).write_csv(separator="\t"))
    signal_columns = {
        conditions.column(column, name): values[:count].round(6)
        for name, signal in signals.items()
        for column, values in {"mean_signal": signal, "mean_bin": bin_units(signal, inner)}.items()
    }
    truth = pl.DataFrame(
        {
            "sequence": library.sequences[:count],
            **signal_columns,
            "cell_sd": library.cell_sd[:count].round(6),
            "cells": np.bincount(np.concatenate(owners[:of_bins]), minlength=count),
            "reads": np.sum(counts[:of_bins], axis=0),
        }
    )
    tables = {"truth": truth, "independent": independent(library, signals, inner, assay, seed), "activities": library.activities}
    for name, table in tables.items():
        files.write_gzip(paths[name], table.write_csv(separator="\t").encode())
    cells_sorted, own = truth["cells"].sum(), truth["reads"].sum()
    print(f"{count:,} promoters, {cells_sorted:,} cells sorted; {sum(totals):,} reads, {own:,} of them from the library")


def measure(
    sequences: pl.Series,
    scaffold: Scaffold,
    motif_file: str,
    sheet: Sequence[Row],
    assay: Assay,
    seed: int,
    readout: str = "",
    gate_scale: bool = False,
    transform: Transform = NONE,
) -> pl.DataFrame:
    """Express and measure promoters in the simulated cells of a library: the truth about designs.

    Parameters
    ----------
    sequences
        Whole promoters.
    scaffold, motif_file, sheet, assay, seed
        As in `write`; the same cells follow from the same values.
    readout
        Condition, or difference between two; empty if there is only one condition.
    gate_scale
        Whether expression is in the unit of the gates, log2 YFP/RFP; otherwise in bins.
    transform
        Transform of expression; a difference is one of transformed expression, as in training.

    Returns
    -------
    polars.DataFrame
        ``true``: expression without noise; ``measured``: mean bin of ``independent_cells`` sorted cells, as of the independent set. It is
        null with ``gate_scale``.
    """
    sorted_rows = [row for row in sheet if not is_unsorted(row)]
    inner = next(iter(replicate_gates(sorted_rows).values()))
    cell = make_library(scaffold, motif_file, inner, assay, seed).cell
    weights = np.array(conditions.weights(readout, conditions.of_rows(sheet, "sample sheet")))
    signal = cell.signal(sequences)
    rng = randomness.generator(seed, "measure_designs")
    cell_sd = np.hypot(assay.yfp_sd, assay.rfp_sd) * np.exp(rng.normal(0, assay.sd_spread, len(sequences)))
    cells = np.full(len(sequences), assay.independent_cells)
    measured = [
        sort_cells(each, cell_sd, cells, inner, assay.sorting_errors, rng).reshape(len(sequences), -1).mean(axis=1) for each in signal
    ]
    true = weights @ transform.forward(signal if gate_scale else bin_units(signal, inner))
    found = [None] * len(true) if gate_scale else weights @ transform.forward(np.array(measured))
    return pl.DataFrame({"true": true, "measured": found}, _MEASURED)


_MEASURED = {"true": pl.Float64, "measured": pl.Float64}


def true_expression(
    path: str | os.PathLike, readout: str, names: Sequence[str], gate_scale: bool, transform: Transform = NONE
) -> np.ndarray:
    """Return the true expression of the library from the table ``truth`` of `write`, in one condition or as a difference.

    Parameters
    ----------
    path
        Table of the truth.
    readout, names
        Readout, and all conditions in order; empty for one.
    gate_scale, transform
        As in `measure`.
    """
    table = pl.read_csv(Path(path), separator="\t", glob=False)
    role = "mean_signal" if gate_scale else "mean_bin"
    values = np.array([table[conditions.column(role, name)].to_numpy() for name in names or [""]])
    return np.array(conditions.weights(readout, names)) @ transform.forward(values)


def independent(library: Library, signals: Mapping[str, np.ndarray], inner: np.ndarray, assay: Assay, seed: int) -> pl.DataFrame:
    """Sort ``independent_cells`` cells of each independent promoter like the library, and average their bins instead of sequencing.

    ``signals`` are those of each condition, see `Library`.
    """
    part, count, cells = slice(assay.promoters, None), assay.independent, assay.independent_cells
    columns: dict[str, np.ndarray | pl.Series] = {"sequence": library.sequences[part]}
    for number, (name, signal) in enumerate(signals.items()):
        rng = randomness.generator(seed, "simulate_assay", "independent", *([number] if number else []))
        bins = sort_cells(signal[part], library.cell_sd[part], np.full(count, cells), inner, assay.sorting_errors, rng)
        bins = np.sort(bins.reshape(count, cells), axis=1)
        n_bins = 1 + (np.diff(bins, axis=1) > 0).sum(axis=1)
        measured = {
            "expression": bins.mean(axis=1).round(5),
            "expression_sd": (bins.std(axis=1) / np.sqrt(cells)).round(5),
            "n_reads": np.full(count, cells),
            "n_bins": n_bins,
            "singleton": n_bins == 1,
        }
        columns |= {conditions.column(role, name): values for role, values in measured.items()}
    return pl.DataFrame(columns)
