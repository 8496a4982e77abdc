"""Count the reads of each distinct insert in a sorted bin.

Reads are processed in blocks of a few megabytes, as byte matrices with one read per row. Each block is discarded after use; only one row
per distinct insert is kept in memory.
"""

import operator
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl

from gpraflow.assay.fastq import SPARE_BYTES, Block, byte_rows, cut_rows, locate_fields, row_width, whole_records
from gpraflow.assay.inserts import (
    ADAPTER,
    COMPLEMENT,
    LONG_READ,
    LOSSES,
    NO_FIVE,
    NO_FLANK,
    NO_MIDDLE,
    NO_THREE,
    OTHER_STRAND,
    InsertPositions,
    Policy,
    find_inserts,
    read_umis,
)
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger

_CHUNK = 4 << 20  # bytes per matrix of reads
_PROGRESS = 5_000_000  # reads between two progress messages
_JUDGED = 20  # reads; the yield of smaller bins is not checked
_SAMPLED = 1_000  # counted reads of a matrix whose qualities are used
_MOST_WRONG = 1 - 1e-9  # error probability of a base of quality 0, whose logarithm must be finite
_COMPACT = 1_000_000  # rows to collect before counts are summed
_MOST_DIFFERENT = 0.1  # share of bases in which the inserts of two mates may differ by sequencing errors
_T = TypeVar("_T")

LOW_QUALITY = "mean quality below {}"
NO_OVERLAP = "mates do not overlap"
EXPECTED_ERRORS = "expected to have a sequencing error in the insert, by base qualities"  # note in the ledger, read by merge_counts
NOT_IN_DESIGN, AMBIGUOUS_DESIGN = "matches no designed sequence", "matches several designed sequences equally well"
DIFFERENT_MATES = "mates have different inserts"
TWICE, CHOSEN = "insert in both mates", "mates differ, insert of the mate of higher quality counted"
N_IN_UMI, UNSURE_UMI = "N in the UMI", "UMI position uncertain: insertion or deletion in a flank, or UMI cut off by the end of the read"
SHORT, LONG, WITH_N = "insert shorter than {} bp", "insert longer than {} bp", "N in the insert"
# Reasons for lost reads, in the order of the search
_REASONS = (
    *("", NO_FLANK, ADAPTER, LOW_QUALITY, LONG_READ, NO_FIVE, NO_THREE, OTHER_STRAND),
    *(NO_MIDDLE, SHORT, LONG, UNSURE_UMI, N_IN_UMI, WITH_N, DIFFERENT_MATES),
)
_REASON_OF_LOSS = np.array([_REASONS.index(loss) for loss in LOSSES])
# Usual cause of each loss
_CAUSES = {
    LOW_QUALITY: "a poor sequencing run, or reads.min_mean_quality or reads.quality_offset does not suit these files",
    NO_FLANK: "the configured flanks are wrong: compare some reads with scaffold.name, or with reads.five_prime and reads.three_prime",
    NO_FIVE: "reads begin within the 5' flank (set reads.five_prime to the part that they contain), or the configured flank is wrong",
    NO_THREE: "reads end before the 3' flank (give both mates as reads and reads_2), or the configured flank is wrong or swapped",
    ADAPTER: "primer or adapter dimers, which contain no promoter",
    LONG_READ: "reads of whole plasmids or concatemers, with sequencing errors in the flanks: trim them to the amplicon first",
    OTHER_STRAND: "reads of the opposite strand: set reads.reverse_complement: true",
    SHORT: "empty vectors or primer dimers, or scaffold.insert_length does not fit the library",
    LONG: "chimeric reads, with flanks of two molecules, or scaffold.insert_length does not fit the library",
    NO_OVERLAP: "inserts too long for mates to overlap, mate files in different orders, or reads.min_overlap is too large. "
    "If one mate covers the whole insert, set reads.pairs: either_mate, which needs no overlap",
    DIFFERENT_MATES: "mate files in different orders: read n of reads and read n of reads_2 must be one pair",
    NO_MIDDLE: "reads.middle is not the sequence between the two variable pieces, or is on the opposite strand to the flanks",
    N_IN_UMI: "a failed sequencing cycle within the UMI",
    UNSURE_UMI: "reads begin or end within the UMI: in reads.five_prime and reads.three_prime, write only the N that all reads contain",
    NOT_IN_DESIGN: "reads.design lists another library or the other strand, or inserts have more than reads.design_edits errors",
    AMBIGUOUS_DESIGN: "designed sequences differ by few edits, and reads have errors: raise reads.min_mean_quality",
    WITH_N: "a failed sequencing cycle; with reads.n_in_insert: keep or merge, these reads are counted",
}


def count(paths: Sequence[str], policy: Policy, ledger: Ledger, threads: int = 1, mates: Sequence[str] = ()) -> pl.DataFrame:
    """Count the reads of each distinct insert of a bin, or the read pairs.

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
    mates
        FASTQ files of second mates, one per file of ``paths``; empty for single or merged reads. A pair counts once, for the insert of
        the mate that has it whole. If both mates have one, and the inserts have the same length and differ in at most a tenth of their
        bases, that of the mate with the lower expected number of sequencing errors counts (the first if equal); otherwise the pair is
        lost. A pair without an insert is lost for the reason of the mate in which the search went further.

    Returns
    -------
    polars.DataFrame
        ``insert`` (A, C, G, T and N, 5' to 3' on the strand of the flanks) and ``reads``, sorted by insert. With ``policy.umi``, also
        ``umi``, and one row per insert and UMI.

    Raises
    ------
    InputError
        If a file is not FASTQ or is truncated, with file and read; if mate files differ in their number of reads; or if the share of
        counted reads is below ``min_yield``, with the reasons for the losses.
    """
    tally: Counter[str] = Counter()
    waiting: list[pl.DataFrame] = []
    with ThreadPoolExecutor(threads) as pool:
        sums = pool.submit(_added_up, None, [], policy)
        for path, mate in zip(paths, mates or [""] * len(paths), strict=True):
            before = tally["in"]
            blocks = _united(path, mate, policy, pool, threads) if mate else _in_order(_count_block, path, policy, pool, threads)
            for counts, part in blocks:
                waiting.append(counts)
                if tally["in"] // _PROGRESS < (tally["in"] + part["in"]) // _PROGRESS:
                    print(f"{tally['in'] + part['in']:,} reads so far", file=sys.stderr, flush=True)
                tally.update(part)
                rows = sum(map(len, waiting))
                if rows > _COMPACT and rows > _COMPACT + len(sums.result()):  # so that each insert is summed only a few times
                    sums, waiting = pool.submit(_added_up, sums.result(), waiting, policy), []
            print(f"{path}: {tally['in'] - before:,} {'pairs' if mate else 'reads'}", file=sys.stderr, flush=True)
    ledger.read(tally.pop("in", 0))
    counted = tally.pop("out", 0)
    for what in sorted(tally):
        (ledger.note if what.startswith("noted: ") else ledger.drop)(what.removeprefix("noted: "), tally[what])
    lost = {what: reads for what, reads in tally.items() if not what.startswith("noted: ")}
    check_yield(f"bin '{ledger.dataset}' ({', '.join([*paths, *mates])})", counted, lost, policy.min_yield)
    return _added_up(sums.result(), waiting, policy).with_columns(pl.col(_keys(policy)).cast(pl.String)).sort(_keys(policy))


def _keys(policy: Policy) -> list[str]:
    return ["insert", "umi"] if policy.umi else ["insert"]


def _added_up(sums: pl.DataFrame | None, waiting: Sequence[pl.DataFrame], policy: Policy) -> pl.DataFrame:
    """Add reads to the sums of others; ``waiting`` has their keys, which are bytes."""
    keys = _keys(policy)
    if sums is None:
        sums = pl.DataFrame(schema={**dict.fromkeys(keys, pl.Binary), "reads": pl.Int64})
    rows = pl.concat([sums, pl.concat([sums.select(keys).clear(), *waiting]).with_columns(reads=pl.lit(1, pl.Int64))])
    # A hash stands for the keys, which takes half the time. If two keys have the same, the sums of another hash differ.
    added = rows.with_columns(hash=rows.select(keys).hash_rows(0)).group_by("hash").agg(pl.col(*keys).first(), pl.col("reads").sum())
    if _checksum(rows, keys) != _checksum(added, keys):
        return rows.group_by(keys).agg(pl.col("reads").sum())
    return added.select(*((pl.col(key).cast(pl.String) + pl.lit("")).cast(pl.Binary) for key in keys), "reads")


def _checksum(counts: pl.DataFrame, keys: Sequence[str]) -> int:
    return int(counts.select(keys).hash_rows(1).to_numpy() @ counts["reads"].to_numpy().view(np.uint64))


def _in_order(work: Callable[..., _T], path: str, policy: Policy, pool: ThreadPoolExecutor, threads: int) -> Iterator[_T]:
    """Yield what ``work`` returns for each block of a FASTQ file, in the file's order; a few blocks are worked on at a time."""
    running: deque[Future[_T]] = deque()
    try:
        for block in whole_records(path, pool):
            running.append(pool.submit(work, block, path, policy))
            if len(running) > 3 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()


def _united(path: str, mate: str, policy: Policy, pool: ThreadPoolExecutor, threads: int) -> Iterator[tuple[pl.DataFrame, Counter[str]]]:
    """Yield the counts of read pairs of which at least one mate has the whole insert; see `count`."""
    files = [_in_order(_mates_of_block, name, policy, pool, threads) for name in (path, mate)]
    one, two = (next(blocks, None) for blocks in files)
    pairs = 0
    while one is not None and two is not None:
        number = min(len(one), len(two))
        yield _one_per_pair(one[:number], two[:number], policy)
        pairs += number
        one, two = (rest[number:] if len(rest) > number else next(blocks, None) for rest, blocks in zip((one, two), files, strict=True))
    if one is not None or two is not None:
        numbers = [
            pairs + sum(map(len, [*([] if rest is None else [rest]), *blocks])) for rest, blocks in zip((one, two), files, strict=True)
        ]
        raise InputError(f"{path} has {numbers[0]:,} reads, {mate} has {numbers[1]:,}; mates must match: one of the files is incomplete")


def _mates_of_block(block: Block, path: str, policy: Policy) -> pl.DataFrame:
    """Return one row per read of a block: the reason for its loss or its insert, and what decides between mates."""
    tables = []
    for part in _inserts_of_block(block, path, policy, every_quality=True):
        inserts = pl.DataFrame(
            {
                "read": np.flatnonzero(part.reason == 0),
                "insert": _series(part.insert).cast(pl.String),
                "umi": _series(np.zeros(len(part), "S1") if part.umi is None else part.umi).cast(pl.String),
                "reverse": part.reverse.astype(bool),
                "edited": part.edited.astype(bool),
                "log_correct": part.log_correct,
            }
        )
        reads = pl.DataFrame({"read": np.arange(len(part.reason)), "reason": part.reason})
        tables.append(reads.join(inserts, on="read", how="left", maintain_order="left").drop("read"))
    return pl.concat(tables)


def _one_per_pair(one: pl.DataFrame, two: pl.DataFrame, policy: Policy) -> tuple[pl.DataFrame, Counter[str]]:
    """Count the insert of each pair once: of the mate that has it or, if both do, of the one with fewer expected errors."""
    both = (one["reason"] == 0) & (two["reason"] == 0)
    differ = both & (one["insert"] != two["insert"])
    second = (one["reason"] > 0) & (two["reason"] == 0) | differ & (two["log_correct"] > one["log_correct"])
    # Where neither mate has the insert, the reason is that of the mate in which the search went further (order of `_REASONS`).
    reasons = one["reason"].to_numpy(), two["reason"].to_numpy()
    reason = np.where(np.minimum(*reasons) == 0, 0, np.maximum(*reasons))
    unlike = differ.arg_true()
    apart = [_apart(*inserts) for inserts in zip(one["insert"][unlike], two["insert"][unlike], strict=True)]
    reason[unlike.to_numpy()[np.array(apart, bool)]] = _REASONS.index(DIFFERENT_MATES)
    chosen = pl.select(pl.when(second).then(two.to_struct()).otherwise(one.to_struct())).to_series().struct.unnest()
    chosen = chosen.filter(pl.Series(reason == 0))
    tally: Counter[str] = Counter()
    _note(tally, chosen["reverse"].to_numpy(), chosen["edited"].to_numpy(), chosen["log_correct"].to_numpy())
    tally[f"noted: {TWICE}"] += int((both & pl.Series(reason == 0)).sum())
    tally[f"noted: {CHOSEN}"] += int((differ & pl.Series(reason == 0)).sum())
    counts = chosen.select(pl.col(_keys(policy)).cast(pl.Binary))
    return counts, _tallied(np.bincount(reason, minlength=len(_REASONS)), policy) + tally


def _apart(one: str, two: str) -> bool:
    """Whether the inserts of two mates are different sequences, rather than one sequence with sequencing errors."""
    differences = sum(map(operator.ne, one, two))
    return len(one) != len(two) or differences > _MOST_DIFFERENT * len(one)


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


@dataclass
class _Inserts:
    """Inserts of some reads. ``reason`` is 0 or the index of the reason for the loss in `_REASONS`, one per read.

    The others have one element per insert: ``insert`` and ``umi`` (None without UMIs), bytes, on the strand of the flanks; ``reverse`` and
    ``edited`` say how the flanks were matched. ``log_correct`` is ln P(no sequencing error), of a sample of the inserts or of all.
    """

    reason: np.ndarray
    insert: np.ndarray
    umi: np.ndarray | None
    reverse: np.ndarray
    edited: np.ndarray
    log_correct: np.ndarray

    def __len__(self) -> int:
        return len(self.insert)


def _inserts_of_block(block: Block, path: str, policy: Policy, every_quality: bool = False) -> Iterator[_Inserts]:
    """Yield the inserts of a block of reads, a matrix of reads at a time; with ``every_quality``, ``log_correct`` of all of them."""
    text, fields = block.text, locate_fields(block, path)
    if row_width(fields.length) > SPARE_BYTES:
        text = np.concatenate([text, np.zeros(row_width(fields.length), np.uint8)])
    begin = 0
    while begin < len(fields.length):
        # As many reads as fit into a matrix; its width is that of the longest, so a long read must not be padded into many rows.
        widths = np.maximum.accumulate(fields.length[begin : begin + _CHUNK // 64]) // 8 * 8 + 8
        part = slice(begin, begin + max(1, int((widths * np.arange(1, len(widths) + 1) <= _CHUNK).sum())))
        length = fields.length[part]
        numbers = np.arange(len(length)) + block.first + begin
        begin = part.stop
        quality = byte_rows(text, fields.quality[part], length)
        good = _good_quality(quality, length, numbers, path, policy)
        rows = _upper_case(byte_rows(text, fields.sequence[part], length), length, numbers, path)
        if good.all():
            yield _inserts(rows, quality, length, policy, every_quality)
            continue
        reason = np.full(len(good), _REASONS.index(LOW_QUALITY))
        inserts = _inserts(rows[good], quality[good], length[good], policy, every_quality)
        reason[good] = inserts.reason
        inserts.reason = reason
        yield inserts


def _series(texts: np.ndarray) -> pl.Series:
    return pl.Series(texts, dtype=pl.Binary)


def _count_block(block: Block, path: str, policy: Policy) -> tuple[pl.DataFrame, Counter[str]]:
    tables = []
    reasons = np.zeros(len(_REASONS), np.int64)
    tally: Counter[str] = Counter()
    for part in _inserts_of_block(block, path, policy):
        columns = {"insert": _series(part.insert)} if part.umi is None else {"insert": _series(part.insert), "umi": _series(part.umi)}
        tables.append(pl.DataFrame(columns))
        reasons += np.bincount(part.reason, minlength=len(_REASONS))
        _note(tally, part.reverse, part.edited, part.log_correct)
    return pl.concat(tables), _tallied(reasons, policy) + tally


def _tallied(reasons: np.ndarray, policy: Policy) -> Counter[str]:
    """Return how many reads came in, were counted and were lost, by reason; ``reasons`` has the reads of each of `_REASONS`."""
    least, greatest = policy.insert_length
    values = {LOW_QUALITY: f"{policy.min_mean_quality:g}", SHORT: least, LONG: greatest}
    tally = Counter({form.format(values.get(form)): int(reads) for form, reads in zip(_REASONS[1:], reasons[1:], strict=True) if reads})
    return tally + Counter({"in": int(reasons.sum()), "out": int(reasons[0])})


def _note(tally: Counter[str], reverse: np.ndarray, edited: np.ndarray, log_correct: np.ndarray) -> None:
    """Note how flanks were located, and the expected number of inserts with a sequencing error: the mean of 1 - P(no error) times all."""
    tally["noted: on the other strand"] += int(reverse.sum())
    tally["noted: flanks matched with edits"] += int(edited.sum())
    if len(log_correct):
        tally[f"noted: {EXPECTED_ERRORS}"] += round(-float(np.expm1(log_correct).mean()) * len(reverse))


def _good_quality(rows: np.ndarray, length: np.ndarray, numbers: np.ndarray, path: str, policy: Policy) -> np.ndarray:
    offset = policy.quality_offset
    shortest = int(length.min())
    if rows[:, :shortest].min(initial=255) < offset or (rows[:, shortest:] - np.uint8(1)).min() < offset - 1:  # 0 (padding) becomes 255
        row = int(((rows > 0) & (rows < offset)).any(axis=1).argmax())
        text = rows[row, : length[row]].tobytes().decode(errors="replace")
        raise InputError(f"{path}: read {numbers[row]:,}: quality '{text[:40]}' is below Phred+{offset}; check reads.quality_offset")
    # Phred+64 ranges from 59 (Solexa's -5) to 105. High qualities in Phred+33 stay below 90 or, on long-read instruments, exceed 105.
    if numbers[0] == 1 and offset == 33 and 90 <= rows.max() <= 105 and rows[rows > 0].min() >= 59:
        raise InputError(f"{path}: qualities look like Phred+64 (Illumina before 2011); set reads.quality_offset: 64")
    return rows.sum(axis=1, dtype=np.uint32) >= (policy.min_mean_quality + offset) * length


def _upper_case(rows: np.ndarray, length: np.ndarray, numbers: np.ndarray, path: str) -> np.ndarray:
    others = int(length.sum())
    for base in b"ACGTN":
        others -= int(np.count_nonzero(rows == base))
        if not others:
            return rows
    upper = rows & 0xDF  # lower case (soft-masked) bases become upper case; a space becomes 0
    bad = (upper != 0) | (rows == ord(" "))
    for base in b"ACGTN":
        bad &= upper != base
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        text = rows[row].tobytes().rstrip(b"\0").decode(errors="replace")
        raise InputError(f"{path}: read {numbers[row]:,}: sequence '{text[:60]}' contains letters other than A, C, G, T and N")
    return upper


def _inserts(rows: np.ndarray, quality: np.ndarray, length: np.ndarray, policy: Policy, every_quality: bool) -> _Inserts:
    """Return the inserts that are counted, and the reasons for lost reads."""
    if not len(rows):
        none = np.zeros(0, bool)
        return _Inserts(np.zeros(0, np.int64), none.astype("S1"), none.astype("S1") if policy.umi else None, none, none, np.zeros(0))
    located = find_inserts(rows, length, policy)
    reason = _REASON_OF_LOSS[located.lost]
    least, greatest = policy.insert_length
    size = located.size
    reason[located.ok & (size < least)] = _REASONS.index(SHORT)
    reason[located.ok & (size > greatest)] = _REASONS.index(LONG)
    kept = np.flatnonzero(reason == 0)
    if not len(kept):
        return _Inserts(reason, kept.astype("S1"), kept.astype("S1") if policy.umi else None, kept, kept, np.zeros(0))
    inserts = _cut(rows, kept, located, bool(policy.middle))
    lost = np.zeros(len(kept), np.int64)
    umis = None
    if policy.umi:
        umis, sure = read_umis(rows[kept], length[kept], located[kept], policy)
        lost[(umis == ord("N")).any(axis=1)] = _REASONS.index(N_IN_UMI)
        lost[~sure] = _REASONS.index(UNSURE_UMI)
    if policy.n_in_insert == "drop":
        lost[(inserts == ord("N")).any(axis=1)] = _REASONS.index(WITH_N)
    if lost.any():
        reason[kept] = lost
        inserts, umis, kept = inserts[lost == 0], None if umis is None else umis[lost == 0], kept[lost == 0]
    some = kept if every_quality else kept[:: len(kept) // _SAMPLED + 1]
    log_correct = _log_correct(_cut(quality, some, located, bool(policy.middle)), policy.quality_offset) if len(some) else np.zeros(0)
    reverse = located.reverse[kept]
    reverse_rows = np.flatnonzero(reverse)
    if len(reverse_rows):
        order = size[kept][reverse_rows][:, None] - 1 - np.arange(inserts.shape[1])
        complemented = np.take_along_axis(COMPLEMENT[inserts[reverse_rows]], np.maximum(order, 0), axis=1)
        inserts[reverse_rows] = np.where(order >= 0, complemented, 0)
    text = None if umis is None else _texts(umis)
    return _Inserts(reason, _texts(inserts), text, reverse, located.edits[kept] > 0, log_correct)


def _texts(matrix: np.ndarray) -> np.ndarray:
    """Return the rows of a matrix of letters as bytes, without trailing zeros."""
    return np.ascontiguousarray(matrix).view(f"S{matrix.shape[1]}").ravel()


def _cut(matrix: np.ndarray, rows: np.ndarray, located: InsertPositions, middle: bool) -> np.ndarray:
    """Return the located inserts of some rows, or their qualities, without the constant middle; padded with 0."""
    start = located.start[rows]
    whole = cut_rows(matrix, rows, start, located.end[rows] - start)
    if not middle:
        return whole
    size = located.size[rows]
    place = np.arange(row_width(size))
    source = place + np.where(place >= (located.gap[rows] - start)[:, None], located.gap_size[rows][:, None], 0)
    joined = np.take_along_axis(whole, np.minimum(source, whole.shape[1] - 1), axis=1)
    return np.where(place < size[:, None], joined, 0)


def _log_correct(quality: np.ndarray, offset: int) -> np.ndarray:
    """Return ln P(no base of the insert is wrong), from qualities q: the sum of ln(1 - 10^(-q / 10)); shape ``(inserts,)``.

    ``quality`` holds quality characters, ``(inserts, width)`` uint8, padded with 0.
    """
    wrong = np.minimum(10.0 ** ((offset - np.arange(256)) / 10), _MOST_WRONG)
    wrong[0] = 0  # padding
    return np.log1p(-wrong).take(quality).sum(axis=1)
