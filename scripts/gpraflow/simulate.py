"""A sorted promoter library from sequence to FASTQ, with a known truth, for the sample run and for tests."""

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from gpraflow import files, motifs, randomness
from gpraflow.errors import ConfigError
from gpraflow.scaffold import ALPHABET, PADDING, Scaffold, detokenize, reverse_complement, tokenize
from gpraflow.sheet import Row, check_reads, column_of, split_files

# Inserts in 7,369 rows of the DREAM 2022 training set, bp: share; the rest is spread over all other lengths of the range.
_LENGTHS = {80: 0.821, 79: 0.126, 78: 0.024, 77: 0.0075, 81: 0.005, 76: 0.0045, 75: 0.0025, 74: 0.0015, 72: 0.0015}
_SHORTEST, _LONGEST = 57, 105
_WITH_N = 0.004  # of the promoters, as there (where it is a run of N)

# NovaSeq's qualities, best first, and the shares of bases that get 23 and 12; quality 2 is an N, a tenth as often as a wrong base.
_QUALITIES = np.array([37, 23, 12, 2], np.uint8)
_SHARE_23, _SHARE_12, _N_PER_ERROR = 0.08, 0.02, 0.1
_UNCALLED = 2 + 33
_COURSES = 4096
_MARGIN = 16  # bases beyond the read, for deletions

# Illumina TruSeq: what first and second reads run into behind the amplicon.
_ADAPTERS = "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA", "AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGT"
_BACKBONE, _FRAGMENTS = 6000, 2000  # bp of plasmid without a given sequence, pieces of it that are sequenced
_BLOCK = 4096  # reads or promoters at a time
_ASCII = np.frombuffer(ALPHABET.encode(), np.uint8)


@dataclass(frozen=True)
class Assay:
    """Sizes and noise of the library, the sort and the sequencing; the keys of the config's ``simulate`` section.

    Attributes
    ----------
    promoters, independent
        Promoters in the library, and in the independent set.
    independent_cells
        Cells through which each independent promoter is measured.
    active_factors
        Transcription factors that decide expression.
    signal_sd
        Standard deviation over promoters of the mean log2 YFP/RFP, where the reporter is not near its floor or ceiling.
    cells_per_promoter, cell_dispersion
        Mean m of the cells of a promoter that each replicate sorts; their variance is ``m + cell_dispersion m^2``.
    yfp_sd, rfp_sd
        Standard deviation of a single cell's log2 YFP and log2 RFP around the promoter's mean.
    sd_spread
        Standard deviation of the natural log of a promoter's factor on the spread of its cells.
    sorting_errors
        Share of cells that end up in a neighbouring bin.
    reads
        Reads (pairs) over all bins and replicates.
    depth_spread
        Standard deviation between bins of the natural log of reads a cell.
    pcr_spread
        Standard deviation between cells of the natural log of amplification.
    foreign_reads
        Share of reads that hold plasmid without an insert.
    reverse_reads
        Share of reads (of first reads) on the strand that is not the reporter gene's.
    base_errors
        Wrong bases as a share of called bases; N come on top, a tenth of that share.
    indel_errors
        Inserted and deleted bases as a share of bases.
    read_length
        Bases of each read.
    upstream_bases
        Bases of plasmid before the promoter in a read of the forward strand, and behind it where the other strand's reads begin.
    """

    promoters: int = 20_000
    independent: int = 2_000
    independent_cells: int = 200
    active_factors: int = 40
    signal_sd: float = 2.0
    cells_per_promoter: float = 25.0
    cell_dispersion: float = 1.0
    yfp_sd: float = 0.6
    rfp_sd: float = 0.45
    sd_spread: float = 0.1
    sorting_errors: float = 0.02
    reads: int = 600_000
    depth_spread: float = 0.3
    pcr_spread: float = 0.5
    foreign_reads: float = 0.01
    reverse_reads: float = 0.0
    base_errors: float = 0.002
    indel_errors: float = 0.0001
    read_length: int = 150
    upstream_bases: int = 15


@dataclass(frozen=True)
class Library:
    """Promoters and what decides their cells; the independent set follows the library.

    ``inserts`` is ``(promoters, bp)`` tokens, of which the first ``lengths`` count; ``signal`` is the mean of log2 YFP/RFP of a
    promoter's cells and ``cell_sd`` its standard deviation; ``activities`` has factor, matrix, activity, log_concentration.
    """

    inserts: np.ndarray
    lengths: np.ndarray
    sequences: pl.Series
    signal: np.ndarray
    cell_sd: np.ndarray
    activities: pl.DataFrame


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
    """Simulate a sorted and sequenced library and write its reads, sheet of bins and truth.

    Parameters
    ----------
    scaffold
        Flanks, and the plasmid beyond them.
    motif_file
        Matrices in JASPAR format.
    sheet
        Rows of the sheet of bins: ``bin``, ``reads``, ``lower``, ``upper``; ``reads_2`` for read pairs; ``replicate`` if there are any.
        ``reads`` may name several files separated by commas; the bin's reads are then dealt out to them.
    assay
        Sizes and noise.
    seed
        Same seed, same bytes, whatever the number of threads.
    reads
        The files of the sheet: nothing else is written over.
    paths
        ``bins``: the sheet with the cells sorted into each bin. ``truth``: sequence, mean_signal (log2), mean_bin (0 is the middle of
        the lowest bin of the first replicate), cell_sd (log2), cells, reads. ``independent``: sequence, expression (mean bin of its
        cells), expression_sd (its standard error), n_reads, n_bins, singleton. ``activities``: factor, matrix, activity,
        log_concentration.
    threads
        Bins written at a time.

    Raises
    ------
    ConfigError
        If the sheet lacks gates or files of reads, names a file twice, or one that is not in ``reads``.
    """
    check_reads(list(sheet), "sheet of bins")
    for row in sheet:
        for name in (*split_files(row["reads"]), *split_files(row.get("reads_2", ""))):
            if name not in reads:
                raise ConfigError(f"sheet of bins: {name} is not one of the simulated files; it is left as it is")
    replicates = replicate_gates(sheet)
    inner = next(iter(replicates.values()))
    library = make_library(scaffold, motif_file, inner, assay, seed)
    count = assay.promoters

    # A promoter's share of the library is the same in all replicates.
    abundance = gamma(randomness.generator(seed, "simulate_assay", "abundance"), assay.cell_dispersion, count)
    owners: list[np.ndarray] = []  # for each row of the sheet the promoter of each of its cells
    rows: list[Row] = []
    for replicate, gates in replicates.items():
        rng = randomness.generator(seed, "simulate_assay", "cells", replicate)
        cells = rng.poisson(assay.cells_per_promoter * abundance)
        bins = sort_cells(library.signal[:count], library.cell_sd[:count], cells, gates, assay.sorting_errors, rng)
        owner = np.repeat(np.arange(count, dtype=np.int32), cells)[np.argsort(bins, kind="stable")]
        owners += np.split(owner, np.cumsum(np.bincount(bins, minlength=len(gates) + 1))[:-1])
        rows += [row for row in sheet if row.get("replicate", "") == replicate]

    totals = depths(np.array([len(owner) for owner in owners]), assay, randomness.generator(seed, "simulate_assay", "depths"))
    molecules = {paired: make_molecules(scaffold, library, assay, paired) for paired in {"reads_2" in row for row in sheet}}
    qualities = quality_courses(assay, randomness.generator(seed, "simulate_assay", "qualities"))

    def sequence(row: Row, owner: np.ndarray, reads: int) -> np.ndarray:
        return write_bin(row, owner, reads, molecules["reads_2" in row], qualities, assay, seed)

    with ThreadPoolExecutor(threads) as pool:  # compression and NumPy leave Python's lock, so that threads run side by side
        counts = list(pool.map(sequence, rows, owners, totals))

    cells_of_row = {column_of(row): len(owner) for row, owner in zip(rows, owners, strict=True)}
    written = pl.DataFrame([{**row, "cells": cells_of_row[column_of(row)]} for row in sheet], infer_schema_length=None)
    order = [name for name in ("bin", "reads", "reads_2", "lower", "upper", "cells", "replicate") if name in written.columns]
    files.write_text(paths["bins"], written.select(order).write_csv(separator="\t"))
    truth = pl.DataFrame(
        {
            "sequence": library.sequences[:count],
            "mean_signal": library.signal[:count].round(6),
            "mean_bin": bin_units(library.signal[:count], inner).round(6),
            "cell_sd": library.cell_sd[:count].round(6),
            "cells": np.bincount(np.concatenate(owners), minlength=count),
            "reads": np.sum(counts, axis=0),
        }
    )
    tables = {"truth": truth, "independent": independent(library, inner, assay, seed), "activities": library.activities}
    for name, table in tables.items():
        files.write_gzip(paths[name], table.write_csv(separator="\t").encode())
    cells_sorted, own = truth["cells"].sum(), truth["reads"].sum()
    print(f"{count:,} promoters, {cells_sorted:,} cells sorted; {sum(totals):,} reads, {own:,} of them of the library")


def replicate_gates(sheet: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the gates between the bins of each replicate, ``(bins - 1,)`` log2 YFP/RFP; the outermost bins are open.

    Raises
    ------
    ConfigError
        If a gate is missing or there are two between the same bins, or gates do not rise.
    """
    gates: dict[str, np.ndarray] = {}
    for replicate in dict.fromkeys(row.get("replicate", "") for row in sheet):
        inner = []
        for low, high in pairwise(row for row in sheet if row.get("replicate", "") == replicate):
            between = {row[column] for row, column in ((low, "upper"), (high, "lower")) if column in row}
            if len(between) != 1:
                found = " and ".join(f"{gate:g}" for gate in sorted(between)) or "none"
                raise ConfigError(
                    f"sheet of bins: gate between bins '{low['bin']}' and '{high['bin']}': found {found}; the simulation sorts by gates:"
                    f" give one, as upper of '{low['bin']}' and lower of '{high['bin']}'"
                )
            inner.append(between.pop())
        if not inner or (np.diff(inner) <= 0).any():
            where = f" of replicate '{replicate}'" if replicate else ""
            raise ConfigError(f"sheet of bins: gates{where} {inner}; the simulation needs two bins or more, with rising gates")
        gates[replicate] = np.array(inner, np.float64)
    return gates


def bin_units(signal: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return a signal (log2 YFP/RFP) in bins: the lowest gate is 0.5, and one is the mean width of the closed bins."""
    width = np.diff(inner).mean() if len(inner) > 1 else 1.0
    return (signal - inner[0]) / width + 0.5


def gamma(rng: np.random.Generator, dispersion: float, count: int) -> np.ndarray:
    """Return gamma variates of mean 1 and variance ``dispersion``, shape ``(count,)``."""
    return rng.gamma(1 / dispersion, dispersion, count) if dispersion > 0 else np.ones(count)


def make_library(scaffold: Scaffold, motif_file: str, inner: np.ndarray, assay: Assay, seed: int) -> Library:
    """Draw random promoters and their strength.

    Inserts have the length spread of the DREAM 2022 library (80 bp 82 %, 79 bp 13 %, others 57-105 bp); 4 in 1000 have a base that the
    sequencer never calls (N). Strength is the sum over ``active_factors`` yeast factors of activity times occupancy
    (`motifs.occupancies`; de Boer et al. 2020, doi:10.1038/s41587-019-0315-8), standardised to z. A reporter has a floor and a ceiling:
    with m the middle of the closed bins and h half their range, the signal is ``m + h tanh(signal_sd z / h)``.

    Parameters
    ----------
    inner
        ``(bins - 1,)`` gates, log2 YFP/RFP.
    """
    rng = randomness.generator(seed, "simulate_assay", "library")
    # Motifs of little information would bind everywhere and teach nothing.
    usable = [m for m in motifs.load(motif_file) if m.log_odds.max(axis=1).sum() > 7]
    chosen = [usable[i] for i in np.sort(rng.choice(len(usable), min(assay.active_factors, len(usable)), replace=False))]
    activity = rng.normal(0.3, 1.0, len(chosen))
    log_concentration = rng.normal(1.0, 0.7, len(chosen))

    total = assay.promoters + assay.independent
    others = [length for length in range(_SHORTEST, _LONGEST + 1) if length not in _LENGTHS]
    shares = [*_LENGTHS.values(), *[(1 - sum(_LENGTHS.values())) / len(others)] * len(others)]
    lengths = rng.choice([*_LENGTHS, *others], total, p=shares)
    inserts = rng.integers(0, 4, (total, _LONGEST), dtype=np.uint8)
    with_n = np.flatnonzero(rng.random(total) < _WITH_N)
    inserts[with_n, rng.integers(0, lengths[with_n])] = PADDING
    # detokenize strips N from the ends; a guard base keeps every insert at its drawn length.
    text = [guarded[1 : length + 1] for guarded, length in zip(detokenize(np.pad(inserts, ((0, 0), (1, 1)))), lengths, strict=True)]
    sequences = pl.Series("sequence", [scaffold.five_prime + insert + scaffold.three_prime for insert in text])

    bound = motifs.occupancies(tokenize(sequences, int(sequences.str.len_bytes().max())), chosen, log_concentration)  # type: ignore[arg-type]
    strength = np.einsum("pf,f->p", bound, activity)
    standard = (strength - strength[: assay.promoters].mean()) / strength[: assay.promoters].std()
    factors = {
        "factor": [m.factor for m in chosen],
        "matrix": [m.matrix_id for m in chosen],
        "activity": activity.round(6),
        "log_concentration": log_concentration.round(6),
    }
    half = (inner[-1] - inner[0]) / 2 or 2 * assay.signal_sd  # two open bins have one gate only
    return Library(
        inserts,
        lengths,
        sequences,
        signal=(inner[0] + inner[-1]) / 2 + half * np.tanh(assay.signal_sd * standard / half),
        cell_sd=np.hypot(assay.yfp_sd, assay.rfp_sd) * np.exp(rng.normal(0, assay.sd_spread, total)),
        activities=pl.DataFrame(factors),
    )


def sort_cells(
    signal: np.ndarray, cell_sd: np.ndarray, cells: np.ndarray, inner: np.ndarray, sorting_errors: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the bin of each cell, promoter after promoter.

    YFP and RFP of a cell are log-normal, so that log2 YFP/RFP is normal: it is drawn at once. A cell that is sorted wrongly falls into
    one of the neighbouring bins.

    Parameters
    ----------
    signal, cell_sd
        Mean and standard deviation of log2 YFP/RFP of each promoter's cells.
    cells
        Number of cells of each promoter.
    inner
        ``(bins - 1,)`` gates; a cell on a gate falls into the upper bin.
    sorting_errors
        Share of cells that are sorted wrongly.

    Returns
    -------
    numpy.ndarray
        ``(cells.sum(),)`` uint8, or uint16 beyond 256 bins.
    """
    ratio = rng.normal(np.repeat(signal, cells), np.repeat(cell_sd, cells))
    bins = np.searchsorted(inner, ratio, side="right")
    wrong = np.flatnonzero(rng.random(len(bins)) < sorting_errors)
    step = rng.choice([-1, 1], len(wrong))
    off_the_end = (bins[wrong] + step < 0) | (bins[wrong] + step > len(inner))
    bins[wrong] += np.where(off_the_end, -step, step)
    return bins.astype(np.uint8 if len(inner) < 256 else np.uint16)


def independent(library: Library, inner: np.ndarray, assay: Assay, seed: int) -> pl.DataFrame:
    """Measure the independent promoters through ``independent_cells`` cells each, sorted like the library but counted one by one."""
    rng = randomness.generator(seed, "simulate_assay", "independent")
    part, count, cells = slice(assay.promoters, None), assay.independent, assay.independent_cells
    bins = sort_cells(library.signal[part], library.cell_sd[part], np.full(count, cells), inner, assay.sorting_errors, rng)
    bins = np.sort(bins.reshape(count, cells), axis=1)
    n_bins = 1 + (np.diff(bins, axis=1) > 0).sum(axis=1)
    return pl.DataFrame(
        {
            "sequence": library.sequences[part],
            "expression": bins.mean(axis=1).round(5),
            "expression_sd": (bins.std(axis=1) / np.sqrt(cells)).round(5),
            "n_reads": np.full(count, cells),
            "n_bins": n_bins,
            "singleton": n_bins == 1,
        }
    )


def depths(cells: np.ndarray, assay: Assay, rng: np.random.Generator) -> list[int]:
    """Return the reads of each bin: ``assay.reads`` in all, shared by cells times a log-normal depth of the bin."""
    weights = cells * rng.lognormal(0, assay.depth_spread, len(cells))
    ends = np.rint(np.cumsum(weights) / max(weights.sum(), 1e-300) * assay.reads).astype(int)
    return np.diff(ends, prepend=0).tolist()


@dataclass(frozen=True)
class Qualities:
    """Courses of base quality along a read: ``text`` is ``(courses, bp)``, Phred + 33.

    ``hazard`` is ``(courses bp + 1,)``: the running sum, course after course, of ``-ln(1 - P(wrong base))``.
    """

    text: np.ndarray
    hazard: np.ndarray


def quality_courses(assay: Assay, rng: np.random.Generator) -> Qualities:
    """Draw courses of quality in NovaSeq's four levels; they sink towards the end of the read and differ between reads.

    A base of quality q is wrong with the probability ``k 10^(-q/10)``; k, near 1 for the default, makes ``base_errors`` the mean over
    called bases. Bases of quality 2 are not called: N.
    """
    length = assay.read_length
    badness = rng.normal(size=(_COURSES, length))
    for position in range(1, length):  # bad bases come in runs
        badness[:, position] = 0.7 * badness[:, position - 1] + 0.51**0.5 * badness[:, position]
    badness += 1.5 * np.linspace(0, 1, length) ** 2 + rng.exponential(0.7, (_COURSES, 1))
    shares = np.cumsum([_N_PER_ERROR * assay.base_errors, _SHARE_12, _SHARE_23])[::-1]
    quality = _QUALITIES[np.searchsorted(np.quantile(badness, 1 - shares), badness)]
    wrong = np.where(quality > 2, 10 ** (-quality / 10), 0)
    wrong = np.minimum(wrong * assay.base_errors / wrong[wrong > 0].mean(), 0.75)
    return Qualities(quality + 33, np.concatenate([[0], np.cumsum(-np.log1p(-wrong))]))


def make_molecules(scaffold: Scaffold, library: Library, assay: Assay, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return what reads see on the reporter gene's strand and on the other, each ``(promoters + fragments, read_length + 16)`` tokens.

    The first begins ``upstream_bases`` before the promoter, the second as many behind it. Beyond the promoter single reads run on into
    the plasmid; pairs run into the sequencing adapters behind the amplicon, which has ``upstream_bases`` of plasmid on both sides.
    Plasmid whose sequence is not given is random, but always the same; fragments of it stand for foreign reads.
    """
    width, margin = assay.read_length + _MARGIN, assay.upstream_bases
    five, three, upstream, downstream, *adapters = (
        tokenize(pl.Series([text]), len(text))[0]
        for text in (scaffold.five_prime, scaffold.three_prime, scaffold.upstream, scaffold.downstream, *_ADAPTERS)
    )
    rng = randomness.generator(0, "plasmid", scaffold.name)
    backbone = rng.integers(0, 4, 2 * (width + margin) + _BACKBONE, dtype=np.uint8)
    left, right = np.concatenate([backbone, upstream]), np.concatenate([downstream, backbone])
    if paired:
        left = np.concatenate([backbone, reverse_complement(adapters[1]), left[len(left) - margin :]])
        right = np.concatenate([right[:margin], adapters[0], backbone])
    left = np.concatenate([left[len(left) - width - margin :], five])
    right = np.concatenate([three, right[: width + margin]])

    def strands(part: slice) -> tuple[np.ndarray, np.ndarray]:
        inserts, lengths = library.inserts[part], library.lengths[part, None]
        ends = [np.broadcast_to(text, (len(inserts), len(text))) for text in (left, right)]
        source = np.concatenate([ends[0], inserts, ends[1]], axis=1)

        def bases(positions: np.ndarray) -> np.ndarray:
            behind = positions >= len(left) + lengths
            return np.take_along_axis(source, positions + behind * (inserts.shape[1] - lengths), axis=1)

        begin = len(left) - len(five) - margin
        end = len(left) + lengths + len(three) + margin
        across = np.arange(width)
        return bases(np.broadcast_to(begin + across, (len(inserts), width))), reverse_complement(bases(end - width + across))

    parts = [strands(slice(begin, min(begin + _BLOCK, assay.promoters))) for begin in range(0, assay.promoters, _BLOCK)]

    amplicon = len(five) + 80 + len(three) + 2 * margin
    begins = rng.integers(width, len(backbone) - width - amplicon, _FRAGMENTS)
    windows = np.lib.stride_tricks.sliding_window_view(backbone, width)
    fragments = windows[begins], reverse_complement(windows[begins + amplicon - width])
    forward, reverse = (np.concatenate(pieces) for pieces in zip(*parts, fragments, strict=True))
    return forward, reverse


def misread(molecules: np.ndarray, qualities: Qualities, assay: Assay, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequence molecules with errors.

    Parameters
    ----------
    molecules
        ``(reads, read_length + 16)`` tokens; what lies beyond the read takes the place of deleted bases.

    Returns
    -------
    tuple of numpy.ndarray
        Bases as ASCII and qualities as Phred + 33, each ``(reads, read_length)`` uint8.
    """
    count, length = len(molecules), assay.read_length
    called = molecules[:, :length].copy()
    events = rng.integers(0, count * length, rng.poisson(assay.indel_errors * count * length))
    rows, row = np.unique(events // length, return_inverse=True)
    step = np.zeros((len(rows), length), np.int8)  # 1: a base is left out here, -1: one is put in
    step[row, events % length] = rng.choice([-1, 1], len(events))
    origin = np.clip(np.arange(length) + np.cumsum(step, axis=1), 0, molecules.shape[1] - 1)
    called[rows] = np.take_along_axis(molecules[rows], origin, axis=1)
    put_in = np.nonzero(step == -1)
    called[rows[put_in[0]], put_in[1]] = rng.integers(0, 4, len(put_in[0]))

    # Errors are few: their number is drawn for each read, then the place of each by the running sum of the hazard.
    course = rng.integers(0, len(qualities.text), count)
    begin, end = qualities.hazard[course * length], qualities.hazard[(course + 1) * length]
    read = np.repeat(np.arange(count), rng.poisson(end - begin))
    place = np.searchsorted(qualities.hazard, begin[read] + rng.random(len(read)) * (end - begin)[read], side="right") - 1
    place = np.clip(place - course[read] * length, 0, length - 1)
    base = called[read, place]
    called[read, place] = np.where(base == PADDING, PADDING, (base + rng.integers(1, 4, len(read))) % 4)

    quality = qualities.text[course]
    called[quality == _UNCALLED] = PADDING
    quality[called == PADDING] = _UNCALLED
    return _ASCII[called], quality


def write_bin(
    row: Row, owner: np.ndarray, reads: int, molecules: tuple[np.ndarray, np.ndarray], qualities: Qualities, assay: Assay, seed: int
) -> np.ndarray:
    """Amplify and sequence the cells of a bin into its FASTQ files; return the reads of each promoter.

    Each cell's amplification is log-normal; reads fall on cells in proportion to it, in random order.

    Parameters
    ----------
    row
        Of the sheet of bins.
    owner
        The promoter of each cell.
    reads
        Reads to take.
    molecules
        As `make_molecules`.
    """
    rng = randomness.generator(seed, "simulate_assay", "reads", column_of(row))
    amplified = np.cumsum(rng.lognormal(0, assay.pcr_spread, len(owner)))
    cell = np.searchsorted(amplified, rng.random(reads) * amplified[-1:].sum(), side="right")
    source = owner[np.minimum(cell, len(owner) - 1)].astype(np.int64)
    foreign = np.flatnonzero(rng.random(reads) < assay.foreign_reads)
    source[foreign] = rng.integers(assay.promoters, len(molecules[0]), len(foreign))
    reverse = rng.random(reads) < assay.reverse_reads

    digits = len(str(reads))
    prefix = np.frombuffer(f"@{row.get('replicate') or 'sim'}.{row['bin']}.".encode(), np.uint8)
    # Where prefix, number, line end, bases, "+" line and qualities of a record end: all records of a bin have the same form.
    at = np.cumsum([len(prefix), digits, 1, assay.read_length, 3, assay.read_length])
    lanes = list(zip(*(split_files(row[column]) for column in ("reads", "reads_2") if column in row), strict=True))
    for lane, numbers in zip(lanes, np.array_split(np.arange(reads), len(lanes)), strict=True):
        with ExitStack() as stack:
            handles = [stack.enter_context(open(stack.enter_context(files.whole(name)), "wb")) for name in lane]
            packers = [zlib.compressobj(1, wbits=31) if name.endswith(".gz") else None for name in lane]
            for begin in range(0, len(numbers), _BLOCK):
                block = numbers[begin : begin + _BLOCK]
                records = np.full((len(block), at[-1] + 1), ord("\n"), np.uint8)
                records[:, : at[0]] = prefix
                records[:, at[0] : at[1]] = (block[:, None] + 1) // 10 ** np.arange(digits)[::-1] % 10 + ord("0")
                records[:, at[3] + 1] = ord("+")
                for mate, (handle, packer) in enumerate(zip(handles, packers, strict=True)):
                    ends = molecules[mate][source[block]]
                    turned = reverse[block]
                    ends[turned] = molecules[1 - mate][source[block][turned]]
                    records[:, at[2] : at[3]], records[:, at[4] : at[5]] = misread(ends, qualities, assay, rng)
                    handle.write(packer.compress(records) if packer else records)  # type: ignore[arg-type]
            for handle, packer in zip(handles, packers, strict=True):
                handle.write(packer.flush() if packer else b"")
    return np.bincount(source[source < assay.promoters], minlength=assay.promoters)
