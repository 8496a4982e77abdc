"""Simulate sequencing: molecules, quality profiles, sequencing errors and FASTQ files."""

import zlib
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import polars as pl

from gpraflow.assay.sheet import Row, column_of, split_files
from gpraflow.assay.simulated_library import ASCII, BLOCK, Assay, Library
from gpraflow.core import files, randomness
from gpraflow.sequences.scaffold import PADDING, Scaffold, reverse_complement, tokenize

# Quality levels of NovaSeq, best first, and the shares of bases with 23 and 12. Quality 2 means N, a tenth as frequent as wrong bases.
_QUALITIES = np.array([37, 23, 12, 2], np.uint8)
_SHARE_23, _SHARE_12, _N_PER_ERROR = 0.08, 0.02, 0.1
_UNCALLED = 2 + 33
_COURSES = 4096
_MARGIN = 16  # extra template bases after the read, for deletions

# Illumina TruSeq adapters at the end of the amplicon in first and second reads
_ADAPTERS = "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA", "AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGT"
_BACKBONE, _FRAGMENTS = 6000, 2000  # bp of random plasmid backbone, and number of fragments of it that are sequenced


def depths(cells: np.ndarray, assay: Assay, rng: np.random.Generator) -> list[int]:
    """Return the number of reads of each bin: ``assay.reads`` divided in proportion to cells times a log-normal depth of the bin."""
    weights = cells * rng.lognormal(0, assay.depth_spread, len(cells))
    ends = np.rint(np.cumsum(weights) / max(weights.sum(), 1e-300) * assay.reads).astype(int)
    return np.diff(ends, prepend=0).tolist()


@dataclass(frozen=True)
class Qualities:
    """Quality profiles along a read: ``text`` is ``(profiles, bp)``, Phred + 33.

    ``hazard``, shape ``(profiles * bp + 1,)``, is the cumulative sum of ``-ln(1 - P(wrong base))`` over all profiles in turn.
    """

    text: np.ndarray
    hazard: np.ndarray


def quality_courses(assay: Assay, rng: np.random.Generator) -> Qualities:
    """Draw quality profiles with NovaSeq's four levels. Quality decreases towards the end of the read and differs between reads.

    A base of quality q is wrong with probability ``k 10^(-q/10)``; k, near 1 for the defaults, is chosen so that ``base_errors`` is the
    mean over called bases. Bases of quality 2 are N.
    """
    length = assay.read_length
    badness = rng.normal(size=(_COURSES, length))
    for position in range(1, length):  # low-quality bases occur in runs
        badness[:, position] = 0.7 * badness[:, position - 1] + 0.51**0.5 * badness[:, position]
    badness += 1.5 * np.linspace(0, 1, length) ** 2 + rng.exponential(0.7, (_COURSES, 1))
    shares = np.cumsum([_N_PER_ERROR * assay.base_errors, _SHARE_12, _SHARE_23])[::-1]
    quality = _QUALITIES[np.searchsorted(np.quantile(badness, 1 - shares), badness)]
    wrong = np.where(quality > 2, 10 ** (-quality / 10), 0)
    wrong = np.minimum(wrong * assay.base_errors / wrong[wrong > 0].mean(), 0.75)
    return Qualities(quality + 33, np.concatenate([[0], np.cumsum(-np.log1p(-wrong))]))


def make_molecules(scaffold: Scaffold, library: Library, assay: Assay, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the template sequences of forward and reverse reads, each ``(promoters + fragments, read_length + 16)`` tokens.

    Forward templates start ``upstream_bases`` before the promoter, reverse templates as many bases behind it. Past the promoter, single
    reads continue into the plasmid; read pairs continue into the sequencing adapters at the end of the amplicon, which includes
    ``upstream_bases`` of plasmid on both sides. Plasmid of unknown sequence is random but the same in every run; fragments of it serve as
    foreign reads.
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

    parts = [strands(slice(begin, min(begin + BLOCK, assay.promoters))) for begin in range(0, assay.promoters, BLOCK)]

    amplicon = len(five) + 80 + len(three) + 2 * margin
    begins = rng.integers(width, len(backbone) - width - amplicon, _FRAGMENTS)
    windows = np.lib.stride_tricks.sliding_window_view(backbone, width)
    fragments = windows[begins], reverse_complement(windows[begins + amplicon - width])
    forward, reverse = (np.concatenate(pieces) for pieces in zip(*parts, fragments, strict=True))
    return forward, reverse


def misread(molecules: np.ndarray, qualities: Qualities, assay: Assay, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequence templates with errors.

    Parameters
    ----------
    molecules
        Template tokens, ``(reads, read_length + 16)``. The bases past the read length replace deleted bases.

    Returns
    -------
    tuple of numpy.ndarray
        Bases (ASCII) and qualities (Phred + 33), each ``(reads, read_length)`` uint8.
    """
    count, length = len(molecules), assay.read_length
    called = molecules[:, :length].copy()
    events = rng.integers(0, count * length, rng.poisson(assay.indel_errors * count * length))
    rows, row = np.unique(events // length, return_inverse=True)
    step = np.zeros((len(rows), length), np.int8)  # 1: deletion, -1: insertion
    step[row, events % length] = rng.choice([-1, 1], len(events))
    origin = np.clip(np.arange(length) + np.cumsum(step, axis=1), 0, molecules.shape[1] - 1)
    called[rows] = np.take_along_axis(molecules[rows], origin, axis=1)
    put_in = np.nonzero(step == -1)
    called[rows[put_in[0]], put_in[1]] = rng.integers(0, 4, len(put_in[0]))

    # Errors are rare: draw their number for each read, then the position of each from the cumulative hazard.
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
    return ASCII[called], quality


def write_bin(
    row: Row, owner: np.ndarray, reads: int, molecules: tuple[np.ndarray, np.ndarray], qualities: Qualities, assay: Assay, seed: int
) -> np.ndarray:
    """Amplify and sequence the cells of a bin, write its FASTQ files, and return the number of reads of each promoter.

    Amplification is log-normal across cells. Reads are drawn in proportion to it and written in random order.

    Parameters
    ----------
    row
        Row of the sample sheet.
    owner
        Promoter of each cell.
    reads
        Number of reads to draw.
    molecules
        Templates from `make_molecules`.
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
    # Ends of prefix, number, line, bases, "+" line and qualities in a record; all records of a bin have the same layout.
    at = np.cumsum([len(prefix), digits, 1, assay.read_length, 3, assay.read_length])
    lanes = list(zip(*(split_files(row[column]) for column in ("reads", "reads_2") if column in row), strict=True))
    for lane, numbers in zip(lanes, np.array_split(np.arange(reads), len(lanes)), strict=True):
        with ExitStack() as stack:
            handles = [stack.enter_context(open(stack.enter_context(files.whole(name)), "wb")) for name in lane]
            packers = [zlib.compressobj(1, wbits=31) if name.endswith(".gz") else None for name in lane]
            for begin in range(0, len(numbers), BLOCK):
                block = numbers[begin : begin + BLOCK]
                records = np.full((len(block), at[-1] + 1), ord("\n"), np.uint8)
                records[:, : at[0]] = prefix
                records[:, at[0] : at[1]] = (block[:, None] + 1) // 10 ** np.arange(digits)[::-1] % 10 + ord("0")
                records[:, at[3] + 1] = ord("+")
                for mate, (handle, packer) in enumerate(zip(handles, packers, strict=True)):
                    ends = molecules[mate][source[block]]
                    backward = reverse[block]
                    ends[backward] = molecules[1 - mate][source[block][backward]]
                    records[:, at[2] : at[3]], records[:, at[4] : at[5]] = misread(ends, qualities, assay, rng)
                    handle.write(packer.compress(records) if packer else records)  # type: ignore[arg-type]
            for handle, packer in zip(handles, packers, strict=True):
                handle.write(packer.flush() if packer else b"")
    return np.bincount(source[source < assay.promoters], minlength=assay.promoters)
