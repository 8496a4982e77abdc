"""Count the reads of each distinct insert in a sorted bin.

Reads are processed in blocks of a few megabytes, as byte matrices with one read per row. Each block is discarded after use; only one row
per distinct insert is kept in memory.
"""

import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import polars as pl

from gpraflow.assay.fastq import SPARE_BYTES, byte_rows, locate_fields, row_width, whole_records
from gpraflow.assay.inserts import ADAPTER, COMPLEMENT, LONG_READ, LOSSES, NO_FIVE, NO_FLANK, NO_THREE, OTHER_STRAND, Policy, find_inserts
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger

_CHUNK = 4 << 20  # bytes per matrix of reads
_TELL = 5_000_000  # reads between two progress messages
_JUDGED = 20  # reads; the yield of smaller bins is not checked
_SAMPLED = 2_000  # counted reads of a matrix whose qualities are used
_MOST_WRONG = 1 - 1e-9  # error probability of a base of quality 0, whose logarithm must be finite
_COMPACT = 1_000_000  # rows to collect before counts are summed
COUNTS = {"insert": pl.String, "reads": pl.Int64}

LOW_QUALITY = "mean quality below {}"
NO_OVERLAP = "mates do not overlap"
EXPECTED_ERRORS = "sequencing error in the insert, expected number from base qualities"  # note in the ledger, read by merge_counts
NOT_IN_DESIGN, AMBIGUOUS_DESIGN = "not in the design", "ambiguous between designs"
SHORT, LONG, WITH_N = "insert shorter than {} bp", "insert longer than {} bp", "N in the insert"
# Usual cause of each loss
_CAUSES = {
    LOW_QUALITY: "a bad sequencing run, or reads.min_mean_quality or reads.quality_offset do not fit these files",
    NO_FLANK: "wrong flanks: compare some reads with scaffold.name, reads.five_prime and reads.three_prime",
    NO_FIVE: "reads begin within the 5' flank (give its end as reads.five_prime), or the flank is wrong",
    NO_THREE: "reads end before the 3' flank (give both mates as reads and reads_2), or the flank is wrong or in the place of the other",
    ADAPTER: "primer dimers, or reads whose adapters run into the library's",
    LONG_READ: "reads of whole plasmids or concatemers with sequencing errors; cut them to the amplicon first",
    OTHER_STRAND: "wrong orientation: set reads.reverse_complement: true",
    SHORT: "empty vector or primer dimers, or scaffold.insert_length does not fit the library",
    LONG: "two flanks that do not belong together, or scaffold.insert_length does not fit the library",
    NO_OVERLAP: "inserts longer than both mates can cover, mates in another order than each other, or reads.min_overlap is too long",
    NOT_IN_DESIGN: "reads.design is that of another library or strand, or the inserts have more than reads.design_edits errors",
    AMBIGUOUS_DESIGN: "designs that differ by few edits, and reads with errors: raise reads.min_mean_quality",
    WITH_N: "a bad cycle of the sequencer; reads.n_in_insert: keep or merge keeps them",
}


def count(paths: Sequence[str], policy: Policy, ledger: Ledger, threads: int = 1) -> pl.DataFrame:
    """Count the reads of each distinct insert of a bin.

    The insert is the sequence between the 5' flank and the first 3' flank after it. Flanks are first matched exactly, on both strands;
    in reads without an exact match, up to ``max_flank_edits`` edits per flank are tolerated (`find_inserts`).

    Parameters
    ----------
    paths
        FASTQ files, plain or gzip.
    policy
        Rules for counting a read.
    ledger
        Records input reads, lost reads by reason, and how many counted reads are expected to have a sequencing error (`EXPECTED_ERRORS`).
    threads
        Number of threads that locate inserts; one more decompresses.

    Returns
    -------
    polars.DataFrame
        ``insert`` (A, C, G, T and N, 5' to 3' on the strand of the flanks) and ``reads``, sorted by insert.

    Raises
    ------
    InputError
        If a file is not FASTQ or is truncated, with file and read; or if the share of counted reads is below ``min_yield``, with the
        reasons for the losses.
    """
    tally: Counter[str] = Counter()
    waiting: list[pl.DataFrame] = []
    limit = _COMPACT
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future] = deque()

        def finish() -> None:
            nonlocal waiting, limit
            counts, part = running.popleft().result()
            waiting.append(counts)
            if tally["in"] // _TELL < (tally["in"] + part["in"]) // _TELL:
                print(f"{tally['in'] + part['in']:,} reads so far", file=sys.stderr, flush=True)
            tally.update(part)
            if sum(map(len, waiting)) > limit:  # twice the number of distinct inserts, so that each row is summed only a few times
                waiting = [_added_up(waiting)]
                limit = _COMPACT + 2 * len(waiting[0])

        try:
            for path in paths:
                before = tally["in"]
                for pieces, _, first in whole_records(path):
                    running.append(pool.submit(_count_block, pieces, first, path, policy))
                    if len(running) > threads + 1:
                        finish()
                while running:
                    finish()
                print(f"{path}: {tally['in'] - before:,} reads", file=sys.stderr, flush=True)
        finally:
            for future in running:
                future.cancel()
    ledger.read(tally.pop("in", 0))
    counted = tally.pop("out", 0)
    for what in sorted(tally):
        (ledger.note if what.startswith("noted: ") else ledger.drop)(what.removeprefix("noted: "), tally[what])
    lost = {what: reads for what, reads in tally.items() if not what.startswith("noted: ")}
    check_yield(f"bin '{ledger.dataset}' ({', '.join(paths)})", counted, lost, policy.min_yield)
    return _added_up(waiting).sort("insert")


def _added_up(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=COUNTS), *tables]).group_by("insert").agg(pl.col("reads").sum())


def check_yield(origin: str, kept: int, lost: Mapping[str, int], min_yield: float) -> None:
    """Raise an error if too few reads were retained.

    Parameters
    ----------
    origin
        Bin and files, for the error message.
    kept
        Number of reads retained.
    lost
        Reason -> number of reads lost.
    min_yield
        Minimum fraction of reads retained. Bins of fewer than 20 reads are not checked.

    Raises
    ------
    InputError
        If the fraction is lower; with the reasons for the losses and the usual cause of the most frequent one.
    """
    total = kept + sum(lost.values())
    if total < _JUDGED or kept >= min_yield * total:
        return
    worst = max(lost, key=lambda what: (lost[what], what))
    form = max((form for form in _CAUSES if worst.startswith(form.split("{")[0])), key=len)
    losses = "".join(f"\n  {reads / total:6.1%}  {what}" for what, reads in sorted(lost.items(), key=lambda item: -item[1]))
    raise InputError(
        f"{origin}: only {kept:,} of {total:,} reads were kept ({kept / total:.1%}; reads.min_yield is {min_yield:g}). Lost:{losses}\n"
        f"Most were lost to '{worst}'. Usual cause: {_CAUSES[form]}"
    )


def _count_block(pieces: Sequence[bytes | memoryview], first: int, path: str, policy: Policy) -> tuple[pl.DataFrame, Counter[str]]:
    size = sum(map(len, pieces))
    text = np.concatenate([*(np.frombuffer(piece, np.uint8) for piece in pieces), np.zeros(SPARE_BYTES, np.uint8)])
    fields = locate_fields(text[:size], first, path)
    if row_width(fields.length) > SPARE_BYTES:
        text = np.concatenate([text[:size], np.zeros(row_width(fields.length), np.uint8)])
    tally = Counter({"in": len(fields.length)})
    found: list[bytes] = []
    begin = 0
    while begin < len(fields.length):
        # As many reads as fit into a matrix; its width is that of the longest, so a long read must not be padded into many rows.
        widths = np.maximum.accumulate(fields.length[begin : begin + _CHUNK // 64]) // 8 * 8 + 8
        part = slice(begin, begin + max(1, int((widths * np.arange(1, len(widths) + 1) <= _CHUNK).sum())))
        length = fields.length[part]
        numbers = np.arange(len(length)) + first + begin
        begin = part.stop
        quality = byte_rows(text, fields.quality[part], length)
        good = _good_quality(quality, length, numbers, path, policy)
        tally[LOW_QUALITY.format(f"{policy.min_mean_quality:g}")] += int((~good).sum())
        rows = _upper_case(byte_rows(text, fields.sequence[part], length), numbers, path)
        if not good.all():
            rows, quality, length = rows[good], quality[good], length[good]
        if len(rows):
            found += _inserts(rows, quality, length, policy, tally)
    tally["out"] = len(found)
    return pl.DataFrame({"insert": pl.Series(found, dtype=pl.Binary).cast(pl.String)}).with_columns(reads=pl.lit(1, pl.Int64)), +tally


def _good_quality(rows: np.ndarray, length: np.ndarray, numbers: np.ndarray, path: str, policy: Policy) -> np.ndarray:
    offset = policy.quality_offset
    below = rows - np.uint8(1) < offset - 1  # 0 (padding) becomes 255
    if below.any():
        row = int(below.any(axis=1).argmax())
        text = rows[row, : length[row]].tobytes().decode(errors="replace")
        raise InputError(f"{path}: read {numbers[row]:,}: quality '{text[:40]}' is below Phred+{offset}; check reads.quality_offset")
    # Phred+64 ranges from 59 (Solexa's -5) to 105. High qualities in Phred+33 stay below 90 or, on long-read instruments, exceed 105.
    if numbers[0] == 1 and offset == 33 and 90 <= rows.max() <= 105 and rows[rows > 0].min() >= 59:
        raise InputError(f"{path}: qualities look like Phred+64 (Illumina before 2011); set reads.quality_offset: 64")
    return rows.sum(axis=1, dtype=np.uint32) >= (policy.min_mean_quality + offset) * length


def _upper_case(rows: np.ndarray, numbers: np.ndarray, path: str) -> np.ndarray:
    upper = rows & 0xDF  # lower case (soft-masked) bases become upper case; a space becomes 0
    bad = (upper != 0) | (rows == ord(" "))
    for base in b"ACGTN":
        bad &= upper != base
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        text = rows[row].tobytes().rstrip(b"\0").decode(errors="replace")
        raise InputError(f"{path}: read {numbers[row]:,}: sequence '{text[:60]}' contains letters other than A, C, G, T and N")
    return upper


def _inserts(rows: np.ndarray, quality: np.ndarray, length: np.ndarray, policy: Policy, tally: Counter[str]) -> list[bytes]:
    """Return the inserts that are counted, and tally the reasons for lost reads and the expected sequencing errors."""
    found = find_inserts(rows, length, policy)
    for reason, reads in zip(*np.unique(found.lost[~found.ok], return_counts=True), strict=True):
        tally[LOSSES[reason]] += int(reads)
    least, greatest = policy.insert_length
    size = found.end - found.start
    short, long = found.ok & (size < least), found.ok & (size > greatest)
    tally[SHORT.format(least)] += int(short.sum())
    tally[LONG.format(greatest)] += int(long.sum())
    kept = np.flatnonzero(found.ok & ~short & ~long)
    tally["noted: on the other strand"] += int(found.reverse[kept].sum())
    tally["noted: flanks with edits"] += int((found.edits[kept] > 0).sum())
    if not len(kept):
        return []
    inserts = _cut(rows, kept, found.start[kept], size[kept])
    if policy.n_in_insert == "drop":
        with_n = (inserts == ord("N")).any(axis=1)
        tally[WITH_N] += int(with_n.sum())
        inserts, kept = inserts[~with_n], kept[~with_n]
    some = kept[:: len(kept) // _SAMPLED + 1]
    if len(some):
        wrong = _share_with_errors(_cut(quality, some, found.start[some], size[some]), policy.quality_offset)
        tally[f"noted: {EXPECTED_ERRORS}"] += round(wrong * len(kept))
    reverse = np.flatnonzero(found.reverse[kept])
    if len(reverse):
        order = size[kept][reverse][:, None] - 1 - np.arange(inserts.shape[1])
        turned = np.take_along_axis(COMPLEMENT[inserts[reverse]], np.maximum(order, 0), axis=1)
        inserts[reverse] = np.where(order >= 0, turned, 0)
    return np.ascontiguousarray(inserts).view(f"S{inserts.shape[1]}").ravel().tolist()  # without trailing zeros


def _cut(matrix: np.ndarray, rows: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the ``size`` bytes from ``start`` in some rows of a matrix, padded with 0."""
    text = np.concatenate([matrix.ravel(), np.zeros(row_width(size), np.uint8)])
    return byte_rows(text, rows * matrix.shape[1] + start, size)


def _share_with_errors(quality: np.ndarray, offset: int) -> float:
    """Return the expected share of inserts with at least one wrong base, from qualities q: the mean of 1 - prod(1 - 10^(-q / 10)).

    ``quality`` holds quality characters, ``(inserts, width)`` uint8, padded with 0.
    """
    wrong = np.minimum(10.0 ** ((offset - np.arange(256)) / 10), _MOST_WRONG)
    wrong[0] = 0  # padding
    return -float(np.expm1(np.log1p(-wrong).take(quality).sum(axis=1)).mean())
