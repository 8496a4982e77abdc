"""From the reads of a sorted bin to the inserts between the flanks, and how many reads each has.

Reads are handled in blocks of a few megabytes as byte matrices, one row a read. A block's memory is given back; what stays is one row
a distinct insert.
"""

import gzip
import sys
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from isal import igzip, isal_zlib

from gpraflow.errors import ConfigError, InputError
from gpraflow.ledger import Ledger
from gpraflow.scaffold import Scaffold

_BLOCK = 8 << 20  # from 4 MB on, NumPy asks the kernel for large pages, which costs far fewer page faults
_CHUNK = 4 << 20  # bytes of a matrix of reads
_SPARE = 1024  # bytes behind a block's text, for reads up to that length
_TELL = 5_000_000  # reads between two lines of progress
_JUDGED = 20  # reads; the yield of fewer says nothing
_PREFIX = 64  # bp in which most reads have their 5' flank
_COMPACT = 1_000_000  # rows that wait for being added up
_LONGEST_FLANK = 64  # longest flank in bp: the error-tolerant search holds one in a machine word
_ADAPTER = b"AGATCGGAAGAGC"  # begins Illumina's TruSeq adapters
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
_COMPLEMENT_OF = np.frombuffer(_COMPLEMENT, np.uint8)
COUNTS = {"insert": pl.String, "reads": pl.Int64}

LOW_QUALITY = "mean quality below {}"
NO_FLANK, NO_FIVE, NO_THREE = "no flank found", "5' flank not found", "3' flank not found"
ADAPTER, OTHER_STRAND = "no flank found, but an Illumina adapter", "flanks on the other strand"
NO_OVERLAP = "mates do not overlap"
SHORT, LONG, WITH_N = "insert shorter than {} bp", "insert longer than {} bp", "N in the insert"
# What usually lies behind a loss.
_CAUSES = {
    LOW_QUALITY: "a bad sequencing run, or reads.min_mean_quality or reads.quality_offset do not fit these files",
    NO_FLANK: "wrong flanks: compare some reads with scaffold.name, reads.five_prime and reads.three_prime",
    NO_FIVE: "reads begin within the 5' flank (give its end as reads.five_prime), or the flank is wrong",
    NO_THREE: "reads end before the 3' flank (give both mates as reads and reads_2), or the flank is wrong or in the place of the other",
    ADAPTER: "primer dimers, or reads whose adapters run into the library's",
    OTHER_STRAND: "wrong orientation: set reads.reverse_complement: true",
    SHORT: "empty vector or primer dimers, or scaffold.insert_length does not fit the library",
    LONG: "two flanks that do not belong together, or scaffold.insert_length does not fit the library",
    NO_OVERLAP: "inserts longer than both mates can cover, mates in another order than each other, or reads.min_overlap is too long",
    WITH_N: "a bad cycle of the sequencer; reads.n_in_insert: keep or merge keeps them",
}


@dataclass(frozen=True)
class Policy:
    """What makes a read count; keys of the config's section ``reads``.

    ``five_prime`` and ``three_prime`` are the flanks as reads hold them, up to 64 bp each, empty where inserts begin or end with the
    read. Flanks may have ``max_flank_edits`` edits, but one in 5 bp at most, as shorter ones would be found anywhere. ``insert_length``
    is the least and greatest insert in bp.
    """

    five_prime: str
    three_prime: str
    max_flank_edits: int = 2
    min_mean_quality: float = 20
    insert_length: Sequence[int] = (40, 120)
    reverse_complement: bool = True
    n_in_insert: Literal["keep", "merge", "drop"] = "keep"
    quality_offset: int = 33
    min_yield: float = 0.5

    @classmethod
    def of(cls, scaffold: Scaffold, five_prime: str, three_prime: str, **keys: Any) -> "Policy":
        """Return a policy whose flanks are the scaffold's where they are ``auto``.

        A scaffold's longer flank is cut to the 64 bp next to the insert.
        """
        if five_prime == "auto":
            five_prime = scaffold.five_prime[-_LONGEST_FLANK:]
        if three_prime == "auto":
            three_prime = scaffold.three_prime[:_LONGEST_FLANK]
        return cls(five_prime, three_prime, **keys)

    def __post_init__(self) -> None:
        """Check the flanks."""
        for key in ("five_prime", "three_prime"):
            flank = getattr(self, key)
            if set(flank) - set("ACGT") or len(flank) > _LONGEST_FLANK:
                raise ConfigError(
                    f"reads.{key}: '{flank}' must hold A, C, G and T only; give the {_LONGEST_FLANK} bp next to the insert at most"
                )


def count(paths: Sequence[str], policy: Policy, ledger: Ledger, threads: int = 1) -> pl.DataFrame:
    """Count the reads of each distinct insert of a bin.

    The insert is what lies between the 5' flank and the first 3' flank after it. Flanks are looked for exactly, on both strands, and
    in reads without them with up to ``max_flank_edits`` edits each (`find_inserts`).

    Parameters
    ----------
    paths
        FASTQ files, plain or gzip.
    policy
        What makes a read count.
    ledger
        Takes reads in, and those lost with the reason.
    threads
        That find inserts, beside the one that decompresses.

    Returns
    -------
    polars.DataFrame
        ``insert`` (A, C, G, T and N, 5' to 3' on the strand of the flanks) and ``reads``, sorted by insert.

    Raises
    ------
    InputError
        If a file is no FASTQ or is cut off, with file and read; if fewer than ``min_yield`` of the reads count, with what lost them.
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
            if sum(map(len, waiting)) > limit:  # twice what is distinct, so that each row is added up a few times only
                waiting = [_added_up(waiting)]
                limit = _COMPACT + 2 * len(waiting[0])

        try:
            for path in paths:
                before = tally["in"]
                for pieces, _, first in _records(path):
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
    """Stop if too few reads are left.

    Parameters
    ----------
    origin
        Bin and files, for the message.
    kept
        Reads that are left.
    lost
        Why -> reads.
    min_yield
        Least share that is to be left; bins of fewer than 20 reads are not judged.

    Raises
    ------
    InputError
        With what lost the reads, and the usual cause of the greatest loss.
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


def _decompressed(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with igzip.open(raw, "rb") if packed else raw as handle:
                while block := handle.read(_BLOCK):
                    yield block
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: this file of reads does not exist") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, isal_zlib.IsalError) as error:  # type: ignore[misc]
        raise InputError(f"{path}: the gzip file is cut off or damaged ({error}); copy it again") from None


def _records(path: str) -> Iterator[tuple[list[bytes | memoryview], int, int]]:
    """Yield whole records as pieces of text, their number, and the number, from 1, of the first one."""
    rest, first = b"", 1
    for block in _decompressed(path):
        if b"\r" in block or rest.endswith(b"\r"):  # Windows line ends
            block, rest = (rest + block).replace(b"\r\n", b"\n"), b""
        lines = rest.count(b"\n") + int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
        if lines < 4:
            rest += block
            continue
        end = len(block)
        for _ in range(lines % 4 + 1):
            end = block.rfind(b"\n", 0, end)
        yield [rest, memoryview(block)[: end + 1]], lines // 4, first
        rest = block[end + 1 :]
        first += lines // 4
    if rest.strip(b"\n"):
        if rest.count(b"\n") == 3 and not rest.endswith(b"\n"):  # the last line may lack its end
            yield [rest, b"\n"], 1, first
        else:
            raise InputError(f"{path}: the file ends in the middle of read {first:,} (line {4 * first - 3:,}); copy it again")


def count_records(path: str) -> int:
    """Return the number of reads of a FASTQ file.

    Raises
    ------
    InputError
        If it is no FASTQ or is cut off, with file and read.
    """
    total = 0
    for pieces, number, first in _records(path):
        _fields(np.concatenate([np.frombuffer(piece, np.uint8) for piece in pieces]), first, path)
        total += number
    return total


@dataclass(frozen=True)
class _Fields:
    """Where sequence and quality of each read begin in a block, and how long they are; int64 of shape ``(reads,)``."""

    sequence: np.ndarray
    quality: np.ndarray
    length: np.ndarray


def _fields(text: np.ndarray, first: int, path: str) -> _Fields:
    ends = np.flatnonzero(text == ord("\n")).reshape(-1, 4)
    starts = np.concatenate([[0], ends[:-1, 3] + 1])
    length = ends[:, 1] - ends[:, 0] - 1

    def refuse(bad: np.ndarray, fault: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            number = first + row
            name = text[starts[row] : ends[row, 0]].tobytes().decode(errors="replace")
            raise InputError(f"{path}: read {number:,} (line {4 * number - 3:,}, '{name[:60]}'): {fault}")

    refuse(text[starts] != ord("@"), "a FASTQ record begins with @; the file is no FASTQ, or a line is missing before this read")
    refuse(text[ends[:, 1] + 1] != ord("+"), "the third line of a FASTQ record begins with +; a line is missing or too much here")
    refuse(ends[:, 3] - ends[:, 2] - 1 != length, "sequence and quality differ in length; the file is damaged")
    return _Fields(ends[:, 0] + 1, ends[:, 2] + 1, length)


def _count_block(pieces: Sequence[bytes | memoryview], first: int, path: str, policy: Policy) -> tuple[pl.DataFrame, Counter[str]]:
    size = sum(map(len, pieces))
    text = np.concatenate([*(np.frombuffer(piece, np.uint8) for piece in pieces), np.zeros(_SPARE, np.uint8)])
    fields = _fields(text[:size], first, path)
    if _width(fields.length) > _SPARE:
        text = np.concatenate([text[:size], np.zeros(_width(fields.length), np.uint8)])
    tally = Counter({"in": len(fields.length)})
    found: list[bytes] = []
    begin = 0
    while begin < len(fields.length):
        ahead = fields.length[begin : begin + _CHUNK // 64]
        part = slice(begin, begin + max(1, min(len(ahead), _CHUNK // _width(ahead))))
        length = fields.length[part]
        numbers = np.arange(len(length)) + first + begin
        begin = part.stop
        good = _good_quality(_rows(text, fields.quality[part], length), length, numbers, path, policy)
        tally[LOW_QUALITY.format(f"{policy.min_mean_quality:g}")] += int((~good).sum())
        rows = _upper_case(_rows(text, fields.sequence[part], length), numbers, path)
        if not good.all():
            rows, length = rows[good], length[good]
        if len(rows):
            found += _inserts(rows, length, policy, tally)
    tally["out"] = len(found)
    return pl.DataFrame({"insert": pl.Series(found, dtype=pl.Binary).cast(pl.String)}).with_columns(reads=pl.lit(1, pl.Int64)), +tally


def _width(length: np.ndarray) -> int:
    return int(length.max()) // 8 * 8 + 8  # at least one 0 after each read, and whole machine words


def _rows(text: np.ndarray, starts: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return text from ``starts`` as a uint8 matrix, a row of ``length`` bytes and then 0; ``text`` ends with as many bytes to spare."""
    width = _width(length)
    windows = np.ndarray((len(text) - width + 1,), f"V{width}", text, 0, (1,))
    rows = windows[starts].view(np.uint8).reshape(-1, width)
    shortest = int(length.min())
    rows[:, shortest:] *= np.arange(shortest, width) < length[:, None]
    return rows


def _good_quality(rows: np.ndarray, length: np.ndarray, numbers: np.ndarray, path: str, policy: Policy) -> np.ndarray:
    offset = policy.quality_offset
    below = rows - np.uint8(1) < offset - 1  # 0, which is no quality, becomes 255
    if below.any():
        row = int(below.any(axis=1).argmax())
        text = rows[row, : length[row]].tobytes().decode(errors="replace")
        raise InputError(f"{path}: read {numbers[row]:,}: quality '{text[:40]}' goes below Phred+{offset}; see reads.quality_offset")
    # Phred+64 goes from 59 (Solexa's -5) to 105; good reads in Phred+33 end below 90, or, of long-read machines, go beyond 105.
    if numbers[0] == 1 and offset == 33 and 90 <= rows.max() <= 105 and rows[rows > 0].min() >= 59:
        raise InputError(f"{path}: qualities look like Phred+64 (Illumina before 2011); set reads.quality_offset: 64")
    return rows.sum(axis=1, dtype=np.uint32) >= (policy.min_mean_quality + offset) * length


def _upper_case(rows: np.ndarray, numbers: np.ndarray, path: str) -> np.ndarray:
    upper = rows & 0xDF  # lower case, as masking programs write it, is the same base; a space becomes 0
    bad = (upper != 0) | (rows == ord(" "))
    for base in b"ACGTN":
        bad &= upper != base
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        text = rows[row].tobytes().rstrip(b"\0").decode(errors="replace")
        raise InputError(f"{path}: read {numbers[row]:,}: sequence '{text[:60]}' holds letters other than A, C, G, T and N")
    return upper


def _inserts(rows: np.ndarray, length: np.ndarray, policy: Policy, tally: Counter[str]) -> list[bytes]:
    """Return the inserts that count, and tally what is lost and why."""
    found = find_inserts(rows, length, policy)
    for reason, reads in zip(*np.unique(found.lost[~found.ok], return_counts=True), strict=True):
        tally[_LOST[reason]] += int(reads)
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
    size = size[kept]
    text = np.concatenate([rows.ravel(), np.zeros(_width(size), np.uint8)])
    inserts = _rows(text, kept * rows.shape[1] + found.start[kept], size)
    reverse = np.flatnonzero(found.reverse[kept])
    if len(reverse):
        order = size[reverse][:, None] - 1 - np.arange(inserts.shape[1])
        turned = np.take_along_axis(_COMPLEMENT_OF[inserts[reverse]], np.maximum(order, 0), axis=1)
        inserts[reverse] = np.where(order >= 0, turned, 0)
    if policy.n_in_insert == "drop":
        with_n = (inserts == ord("N")).any(axis=1)
        tally[WITH_N] += int(with_n.sum())
        inserts = inserts[~with_n]
    return np.ascontiguousarray(inserts).view(f"S{inserts.shape[1]}").ravel().tolist()  # without the 0 at their ends


@dataclass
class Found:
    """Where the inserts of reads are: arrays of shape ``(reads,)``.

    ``start`` and ``end`` are positions in the read as it is; ``reverse`` tells that the insert is on the other strand; ``edits`` are
    those of both flanks; ``lost`` is 0 where an insert was found, else the index of the reason in `_LOST`.
    """

    start: np.ndarray
    end: np.ndarray
    reverse: np.ndarray
    edits: np.ndarray
    lost: np.ndarray

    @property
    def ok(self) -> np.ndarray:
        """Whether both flanks were found."""
        return self.lost == 0


_LOST = ("", NO_FLANK, NO_FIVE, NO_THREE, OTHER_STRAND, ADAPTER)


def find_inserts(rows: np.ndarray, length: np.ndarray, policy: Policy) -> Found:
    """Find the insert of each read: what lies between the first 5' flank and the first 3' flank after it.

    Exact flanks on the read's strand come first, then exact ones on the other strand, then, again on the read's own strand first, flanks
    with up to ``max_flank_edits`` edits where there is no exact one (Levenshtein; the place with the fewest, of equally good ones the
    leftmost, of equally good ends that of substitutions rather than of indels).

    Parameters
    ----------
    rows
        ``(reads, width)`` ASCII letters, 0 after each read's end (at least one), width a multiple of 8.
    length
        ``(reads,)`` bp.
    policy
        Flanks and edits.
    """
    five, three = policy.five_prime.encode(), policy.three_prime.encode()
    turned = _reverse_complement(three), _reverse_complement(five)
    start, end = _exact(rows, length, five, three)
    found = Found(start, end, np.zeros(len(rows), bool), np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64))
    left = np.flatnonzero((start < 0) | (end < 0))
    if policy.reverse_complement and (five or three) and len(left):
        other, other_end = _exact(rows[left], length[left], *turned)
        hit = (other >= 0) & (other_end >= 0)
        found.start[left[hit]], found.end[left[hit]], found.reverse[left[hit]] = other[hit], other_end[hit], True
        left = left[~hit]
    if len(left):
        part, size, most = rows[left], length[left], policy.max_flank_edits
        forward = _tolerant(part, size, five, three, most)
        lost = np.flatnonzero(forward.lost)
        if (five or three) and len(lost):
            backward = _tolerant(part[lost], size[lost], *turned, most)
            hit = lost[backward.ok]
            if policy.reverse_complement:
                for name in ("start", "end", "edits", "lost"):
                    getattr(forward, name)[hit] = getattr(backward, name)[backward.ok]
                forward.reverse[hit] = True
            else:
                forward.lost[hit] = _LOST.index(OTHER_STRAND)
        for name in ("start", "end", "edits", "lost", "reverse"):
            getattr(found, name)[left] = getattr(forward, name)
        nothing = left[found.lost[left] == _LOST.index(NO_FLANK)]
        if len(nothing):
            found.lost[nothing[_first(rows[nothing], _ADAPTER) >= 0]] = _LOST.index(ADAPTER)
    return found


def _reverse_complement(flank: bytes) -> bytes:
    return flank.translate(_COMPLEMENT)[::-1]


def _first(rows: np.ndarray, flank: bytes, after: np.ndarray | None = None) -> np.ndarray:
    """Return where ``flank`` first begins in each row, at ``after`` or later; -1 where it does not."""
    flat, width = np.ascontiguousarray(rows).ravel(), rows.shape[1]
    words = np.ndarray((max(0, flat.size - 7),), "<u8", flat, 0, (1,))
    head = np.frombuffer(flank[:8].ljust(8, b"\0"), "<u8")[0]
    mask = np.frombuffer((b"\xff" * min(8, len(flank))).ljust(8, b"\0"), "<u8")[0]
    hits = []
    for shift in range(8):  # every eighth place at once
        aligned = flat[shift : shift + (flat.size - shift) // 8 * 8].view("<u8")
        hits.append(np.flatnonzero((aligned if len(flank) >= 8 else aligned & mask) == head) * 8 + shift)
    place = np.sort(np.concatenate(hits))
    for offset in (*range(8, len(flank) - 7, 8), len(flank) - 8):
        if offset > 0:
            place = place[place < len(words) - offset]
            place = place[words[place + offset] == np.frombuffer(flank[offset : offset + 8], "<u8")[0]]
    row, column = np.divmod(place, width)
    if after is not None:
        late = column >= after[row]
        row, column = row[late], column[late]
    first = np.full(len(rows), -1)
    first[row[::-1]] = column[::-1]
    return first


def _exact(rows: np.ndarray, length: np.ndarray, five: bytes, three: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the inserts between exact flanks; -1 where the flank is not there."""
    if five:
        prefix = rows[:, :_PREFIX].copy()
        prefix[:, -1] = 0  # no flank may run from one row into the next
        start = _first(prefix, five)
        further = np.flatnonzero(start < 0)
        if rows.shape[1] > _PREFIX and len(further):
            start[further] = _first(rows[further], five)
        start[start >= 0] += len(five)
    else:
        start = np.zeros(len(rows), np.int64)
    end = _first(rows, three, np.maximum(start, 0)) if three else length
    return start, np.where(start >= 0, end, -1)


def _tolerant(rows: np.ndarray, length: np.ndarray, five: bytes, three: bytes, max_edits: int) -> Found:
    """Find inserts between flanks, each exact or, where it is not there, with up to ``max_edits`` edits."""
    most = [min(max_edits, len(flank) // 5) for flank in (five, three)]
    edits = np.zeros((2, len(rows)), np.int64)
    start, end = np.zeros(len(rows), np.int64), length.copy()
    if five:
        start = _first(rows, five) + len(five)
        some = np.flatnonzero(start < len(five))
        columns = np.ascontiguousarray(rows[some].T)
        places = np.arange(len(columns))[:, None]
        edits[0, some], start[some] = _approximate_end(columns, places < length[some], five, most[0], later=False)
    if three:
        first = np.where(edits[0] <= most[0], start, 0)
        end = _first(rows, three, first)
        some = np.flatnonzero(end < 0)
        # The same search from the right: where the flank begins is where its mirror image ends.
        columns = np.ascontiguousarray(rows[some].T)[::-1]
        places = np.arange(len(columns))[::-1, None]
        allowed = (places < length[some]) & (places >= first[some])
        edits[1, some], mirrored = _approximate_end(columns, allowed, three[::-1], most[1], later=True)
        end[some] = len(columns) - mirrored
    no_five, no_three = edits > np.array(most)[:, None]
    lost = np.where(no_five, _LOST.index(NO_FIVE), np.where(no_three, _LOST.index(NO_THREE), 0))
    lost[no_five & no_three | (lost > 0) & (not (five and three))] = _LOST.index(NO_FLANK)
    return Found(start, end, np.zeros(len(rows), bool), edits.sum(axis=0), lost)


def _approximate_end(columns: np.ndarray, allowed: np.ndarray, flank: bytes, most: int, later: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the edits of the best match of ``flank`` in each text (``most + 1`` for none) and the position behind it.

    Bit-parallel semi-global Levenshtein distance (Myers 1999, doi:10.1145/316542.316550; Hyyroe 2003) of all texts at once, which
    are the columns of ``columns``; matches end where ``allowed``. ``later`` takes the last of equally good places.
    """
    count = columns.shape[1]
    equal = np.zeros(256, np.uint64)
    for index, base in enumerate(flank):
        equal[base] |= np.uint64(1 << index)
    one, top = np.uint64(1), np.uint64(len(flank) - 1)
    plus, minus = np.full(count, (1 << len(flank)) - 1, np.uint64), np.zeros(count, np.uint64)
    score = np.full(count, len(flank))
    best, end, last = np.full(count, most + 1), np.zeros(count, np.int64), np.zeros(count, np.int64)
    for position, letters in enumerate(columns, start=1):
        match = equal[letters]
        vertical = match | minus
        horizontal = (((match & plus) + plus) ^ plus) | match
        rise, fall = minus | ~(horizontal | plus), plus & horizontal
        score += ((rise >> top) & one).astype(np.int64) - ((fall >> top) & one).astype(np.int64)
        rise, fall = rise << one, fall << one
        plus, minus = fall | ~(vertical | rise), rise & vertical
        usable = allowed[position - 1] & (score <= most)
        if usable.any():
            equal_best = usable & (score == best)
            take = usable & (score < best) | equal_best & (last < position - 1) & later
            best, end = np.where(take, score, best), np.where(take, position, end)
            last = np.where(take | equal_best & (last == position - 1), position, last)
    # A substituted base near the flank's end can also be read as a lost or inserted one, which ends elsewhere but costs as much.
    settled = best > most
    for shift in range(most + 1):
        place = end + shift
        rows = np.flatnonzero(~settled & (place >= len(flank)) & (place <= last))
        edits = np.zeros(len(rows), np.int64)
        for index, base in enumerate(flank):
            edits += columns[place[rows] - len(flank) + index, rows] != base
        rows = rows[edits == best[rows]]
        end[rows], settled[rows] = place[rows], True
    return best, end
