"""Extract the insert between the flanks of a read, with exact or error-tolerant matching, on either strand."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from gpraflow.assay.fastq import cut_rows
from gpraflow.core.errors import ConfigError
from gpraflow.sequences.scaffold import Scaffold

_TRIED = 64  # reads that show at which positions most reads have a flank
_NEAR = 3  # bp by which these positions may differ from the most frequent one
_LONGEST_FLANK = 64  # maximum flank length in bp: the error-tolerant search keeps one flank in a 64-bit machine word
_LONG = 10  # reads longer than this many times the longest amplicon are searched for exact flanks only
_LEAST_LONG = 1_000  # bp; reads up to this length are always searched for flanks with edits
_LONGEST_UMI = 32  # bp: a UMI is kept in a 64-bit machine word
_ADAPTER = b"AGATCGGAAGAGC"  # start of Illumina's TruSeq adapters
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
COMPLEMENT = np.frombuffer(_COMPLEMENT, np.uint8)
NO_FLANK, NO_FIVE, NO_THREE = "no flank found", "5' flank not found", "3' flank not found"
NO_MIDDLE = "constant middle not found"
LONG_READ = "no exact flanks in a read longer than ten amplicons"
ADAPTER, OTHER_STRAND = "no flank found, but an Illumina adapter", "flanks on the other strand"


@dataclass(frozen=True)
class Policy:
    """Rules for counting a read; the keys of the config section ``reads``.

    ``five_prime`` and ``three_prime`` are the flanks as they appear in the reads, up to 64 bp each; empty if inserts start or end with
    the read. N in a flank stands for any base. Flanks may contain up to ``max_flank_edits`` edits, but at most one per 5 bp other than N,
    because shorter flanks would match anywhere. ``middle`` is a constant sequence within the insert, which is cut out; its edits are
    limited likewise.
    ``insert_length`` is the minimum and maximum insert length in bp, without the middle. With ``umi``, the bases at the N of both flanks
    are the read's unique molecular identifier (UMI).
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
    middle: str = ""
    umi: bool = False

    @classmethod
    def of(cls, scaffold: Scaffold, five_prime: str, three_prime: str, **keys: Any) -> "Policy":
        """Return a policy in which flanks set to ``auto`` are those of the scaffold.

        A scaffold flank longer than 64 bp is trimmed to the 64 bp next to the insert.
        """
        if five_prime == "auto":
            five_prime = scaffold.five_prime[-_LONGEST_FLANK:]
        if three_prime == "auto":
            three_prime = scaffold.three_prime[:_LONGEST_FLANK]
        return cls(five_prime, three_prime, **keys)

    def __post_init__(self) -> None:
        """Validate the flanks."""
        for key in ("five_prime", "three_prime", "middle"):
            flank = getattr(self, key)
            if set(flank) - set("ACGTN") or len(flank) > _LONGEST_FLANK:
                raise ConfigError(
                    f"reads.{key}: '{flank}' may contain A, C, G, T and N only; give the {_LONGEST_FLANK} bp next to the insert at most"
                )
            if flank and not flank.strip("N"):
                raise ConfigError(f"reads.{key}: '{flank}' has no constant base to search for; give constant bases beside the N")
        if self.umi and not 0 < len(self.umi_offsets) <= _LONGEST_UMI:
            raise ConfigError(
                f"reads.umi: the flanks '{self.five_prime}' and '{self.three_prime}' have {len(self.umi_offsets)} N, which are the UMI; "
                f"write 1 to {_LONGEST_UMI} N in reads.five_prime or reads.three_prime, or set reads.umi: ignore"
            )

    @property
    def umi_offsets(self) -> list[tuple[bool, int]]:
        """N of the flanks, 5' to 3', as (in the 3' flank, distance from the insert in bp): 0 is the base next to the insert."""
        five, three = self.five_prime, self.three_prime
        inner = [(False, len(five) - 1 - place) for place, base in enumerate(five) if base == "N"]
        return inner + [(True, place) for place, base in enumerate(three) if base == "N"]

    @property
    def longest_searched(self) -> int:
        """Length in bp of the longest read that is searched for flanks with edits; the time of that search grows with the length."""
        amplicon = len(self.five_prime) + self.insert_length[1] + len(self.middle) + len(self.three_prime)
        return max(_LEAST_LONG, _LONG * amplicon)


@dataclass
class InsertPositions:
    """Positions of the inserts in their reads; arrays of shape ``(reads,)``.

    ``start`` and ``end`` are positions in the read as sequenced. ``reverse`` is true if the insert is on the opposite strand. ``edits``
    is the sum over both flanks. ``lost`` is 0 if an insert was extracted, otherwise the index of the reason in `LOSSES`.
    ``gap`` is the position of the constant middle in the read, and ``gap_size`` its length in bp, 0 without one.
    """

    start: np.ndarray
    end: np.ndarray
    reverse: np.ndarray
    edits: np.ndarray
    lost: np.ndarray
    gap: np.ndarray
    gap_size: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """Length of the inserts in bp, without the middle."""
        return self.end - self.start - self.gap_size

    def __getitem__(self, rows: np.ndarray) -> "InsertPositions":
        """Return the positions of some reads."""
        return InsertPositions(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def ok(self) -> np.ndarray:
        """True for reads in which both flanks were located."""
        return self.lost == 0


LOSSES = ("", NO_FLANK, NO_FIVE, NO_THREE, OTHER_STRAND, ADAPTER, LONG_READ, NO_MIDDLE)


def find_inserts(rows: np.ndarray, length: np.ndarray, policy: Policy) -> InsertPositions:
    """Locate the insert of each read: the sequence between the first 5' flank and the first 3' flank after it.

    The search order is: exact flanks on the read's strand; exact flanks on the opposite strand; then, in the same order of strands,
    flanks with up to ``max_flank_edits`` edits (Levenshtein distance). The match with the fewest edits wins; ties go to the leftmost
    match, and at equal positions to substitutions before indels. Reads longer than ``longest_searched`` are searched for exact flanks
    only.

    Parameters
    ----------
    rows
        Reads as ASCII letters, ``(reads, width)``, padded with at least one 0; the width is a multiple of 8.
    length
        Read lengths in bp, shape ``(reads,)``.
    policy
        Flanks and permitted edits.
    """
    five, three = policy.five_prime.encode(), policy.three_prime.encode()
    opposite = _reverse_complement(three), _reverse_complement(five)
    start, end = _exact(rows, length, five, three)
    located = InsertPositions(start, end, np.zeros(len(rows), bool), *(np.zeros(len(rows), np.int64) for _ in range(4)))
    left = np.flatnonzero((start < 0) | (end < 0))
    if policy.reverse_complement and (five or three) and len(left):
        other, other_end = _exact(rows[left], length[left], *opposite)
        hit = (other >= 0) & (other_end >= 0)
        located.start[left[hit]], located.end[left[hit]], located.reverse[left[hit]] = other[hit], other_end[hit], True
        left = left[~hit]
    long = length[left] > policy.longest_searched
    located.lost[left[long]] = LOSSES.index(LONG_READ)
    left = left[~long]
    if len(left):
        size, most = length[left], policy.max_flank_edits
        part = rows[left, : size.max() + 1]  # without the padding to a longer read
        forward = _tolerant(part, size, five, three, most)
        lost = np.flatnonzero(forward.lost)
        if (five or three) and len(lost):
            backward = _tolerant(part[lost], size[lost], *opposite, most)
            hit = lost[backward.ok]
            if policy.reverse_complement:
                for name in ("start", "end", "edits", "lost"):
                    getattr(forward, name)[hit] = getattr(backward, name)[backward.ok]
                forward.reverse[hit] = True
            else:
                forward.lost[hit] = LOSSES.index(OTHER_STRAND)
        for name in ("start", "end", "edits", "lost", "reverse"):
            getattr(located, name)[left] = getattr(forward, name)
        nothing = left[located.lost[left] == LOSSES.index(NO_FLANK)]
        if len(nothing):
            located.lost[nothing[_first(rows[nothing], _ADAPTER) >= 0]] = LOSSES.index(ADAPTER)
    if policy.middle:
        _find_middle(rows, located, policy)
    return located


def _find_middle(rows: np.ndarray, located: InsertPositions, policy: Policy) -> None:
    """Locate the constant middle of each insert, exactly or with edits, and set ``gap``, ``gap_size`` and ``lost``.

    Inserts that are too long whatever the edits of the middle are not searched.
    """
    middle = policy.middle.encode()
    searched = located.ok & (located.size <= policy.insert_length[1] + len(middle) + policy.max_flank_edits)
    for reverse, flank in ((False, middle), (True, _reverse_complement(middle))):
        some = np.flatnonzero(searched & (located.reverse == reverse))
        if not len(some):
            continue
        length = located.end[some] - located.start[some]
        inserts = cut_rows(rows, some, located.start[some], length)
        begin = _first(inserts, flank)
        end = begin + len(flank)
        left = np.flatnonzero(begin < 0)
        begin[left], end[left] = _approximate_span(inserts[left], length[left], flank, policy.max_flank_edits)
        located.lost[some[begin < 0]] = LOSSES.index(NO_MIDDLE)
        located.gap[some], located.gap_size[some] = located.start[some] + begin, end - begin


def _approximate_span(rows: np.ndarray, length: np.ndarray, flank: bytes, max_edits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the best match of ``flank`` in each row, with at most one edit per 5 bp; -1 if there is none."""
    most = _most_edits(flank, max_edits)
    columns = np.ascontiguousarray(rows.T)
    allowed = np.arange(len(columns))[:, None] < length
    edits, end = _approximate_end(columns, allowed, flank, most, later=False)
    _, mirrored = _approximate_end(columns[::-1], allowed[::-1], flank[::-1], most, later=True)
    start = len(columns) - mirrored
    missing = (edits > most) | (abs(end - start - len(flank)) > most)
    return np.where(missing, -1, start), np.where(missing, -1, end)


def read_umis(rows: np.ndarray, length: np.ndarray, located: InsertPositions, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Return the UMIs of reads whose insert was located: the bases at the N of the flanks.

    Parameters
    ----------
    rows, length, policy
        As for `find_inserts`.
    located
        The located inserts of these reads.

    Returns
    -------
    tuple
        UMIs as ASCII letters, ``(reads, bases)`` uint8, on the strand of the flanks; and whether they are sure, ``(reads,)`` bool. A UMI
        is unsure if the flanks match with insertions or deletions only, which shift it, or if the read begins or ends within it.
    """

    def bases(place: np.ndarray, in_three: bool, distance: int) -> np.ndarray:
        column = np.where(in_three != located.reverse[place], located.end[place] + distance, located.start[place] - 1 - distance)
        inside = (column >= 0) & (column < length[place])
        letters = np.where(inside, rows[place, np.clip(column, 0, rows.shape[1] - 1)], 0)
        return np.where(located.reverse[place], COMPLEMENT[letters], letters)

    everything = np.arange(len(rows))
    umis = np.column_stack([bases(everything, *offset) for offset in policy.umi_offsets])
    sure = (umis != 0).all(axis=1)
    edited = np.flatnonzero(located.edits > 0)
    mismatches = np.zeros(len(edited), np.int64)
    constant = [(False, distance, base) for distance, base in enumerate(reversed(policy.five_prime))]
    constant += [(True, distance, base) for distance, base in enumerate(policy.three_prime)]
    for in_three, distance, base in constant:
        if base != "N":
            mismatches += bases(edited, in_three, distance) != ord(base)
    sure[edited] &= mismatches == located.edits[edited]
    return umis, sure


def _reverse_complement(flank: bytes) -> bytes:
    return flank.translate(_COMPLEMENT)[::-1]


def _windows(flank: bytes) -> list[tuple[int, np.uint64, np.uint64]]:
    """Return 8-bp windows that cover a flank, as (offset, bases, mask of the bases other than N), the one with the fewest N first."""
    windows = []
    for offset in sorted({0, *range(8, len(flank) - 7, 8), max(0, len(flank) - 8)}, reverse=True):
        text = flank[offset : offset + 8].ljust(8, b"N")
        mask = bytes(0 if base == ord("N") else 0xFF for base in text)
        windows.append((offset, np.frombuffer(text.replace(b"N", b"\0"), "<u8")[0], np.frombuffer(mask, "<u8")[0]))
    return sorted(windows, key=lambda window: int(window[2]).bit_count(), reverse=True)


def _first(rows: np.ndarray, flank: bytes, after: np.ndarray | None = None) -> np.ndarray:
    """Return the position of the first ``flank`` in each row at or after ``after``; -1 if there is none."""
    flat, width = np.ascontiguousarray(rows).ravel(), rows.shape[1]
    words = np.ndarray((max(0, flat.size - 7),), "<u8", flat, 0, (1,))
    (seed, head, mask), *others = _windows(flank)
    hits = []
    for shift in range(8):  # compare every eighth position at once
        aligned = flat[shift : shift + (flat.size - shift) // 8 * 8].view("<u8")
        hits.append(np.flatnonzero((aligned if ~mask == 0 else aligned & mask) == head) * 8 + shift)
    place = np.sort(np.concatenate(hits)) - seed
    if seed:
        place = place[place >= 0]
    for offset, bases, mask in others:
        place = place[place < len(words) - offset]
        place = place[words[place + offset] & mask == bases]
    row, column = np.divmod(place, width)
    if b"N" in flank:  # N matches a base, not the padding, nor a base of the next read
        whole = column <= width - len(flank)
        whole[whole] = flat[place[whole] + len(flank) - 1] != 0
        row, column = row[whole], column[whole]
    if after is not None:
        late = column >= after[row]
        row, column = row[late], column[late]
    first = np.full(len(rows), -1)
    first[row[::-1]] = column[::-1]
    return first


def _least_shift(flank: bytes) -> int:
    """Return by how many bp two copies of a flank in one read differ in position at least."""
    for shift in range(1, len(flank)):
        if all(a == b or ord("N") in (a, b) for a, b in zip(flank, flank[shift:], strict=False)):
            return shift
    return len(flank)


def _usual_first(rows: np.ndarray, flank: bytes, after: np.ndarray | None = None) -> np.ndarray:
    """Return what `_first` does, sooner if most reads have the flank at nearly the same position.

    Only those positions and the ones before them are searched in such reads.
    """
    count, width = rows.shape
    tried = _first(rows[:_TRIED], flank, None if after is None else after[:_TRIED])
    seen, number = np.unique(tried[tried >= 0], return_counts=True)
    if count <= _TRIED or not len(seen):
        return _first(rows, flank, after)
    near = seen[abs(seen - seen[number.argmax()]) <= _NEAR]
    begin, end = int(near[0]), min(int(near[-1]) + 1, width - max(8, len(flank)) + 1)
    first = np.full(count, -1)
    for column in reversed(range(begin, end)):
        here = np.ones(count, bool) if after is None else after <= column
        for offset, bases, mask in _windows(flank):
            words = np.ndarray((count,), "<u8", rows, column + offset, (width,))
            here &= (words if ~mask == 0 else words & mask) == bases
        if b"N" in flank:  # N does not match the padding
            here &= rows[:, column + len(flank) - 1] != 0
        first[here] = column
    low = 0 if after is None else int(after.min())
    if begin - low >= _least_shift(flank):  # otherwise there is no place for an earlier one
        before = rows[:, low : begin + len(flank) - 1]
        padded = np.zeros((count, before.shape[1] // 8 * 8 + 8), np.uint8)
        padded[:, : before.shape[1]] = before
        earlier = _first(padded, flank, None if after is None else after - low)
        first = np.where(earlier >= 0, earlier + low, first)
    others = np.flatnonzero(first < 0)
    if len(others):
        first[others] = _first(rows[others], flank, None if after is None else after[others])
    return first


def _exact(rows: np.ndarray, length: np.ndarray, five: bytes, three: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the inserts between exact flanks; -1 if a flank is missing."""
    if five:
        start = _usual_first(rows, five)
        start[start >= 0] += len(five)
    else:
        start = np.zeros(len(rows), np.int64)
    end = _usual_first(rows, three, np.maximum(start, 0)) if three else length
    return start, np.where(start >= 0, end, -1)


def _most_edits(flank: bytes, max_edits: int) -> int:
    return min(max_edits, len(flank.replace(b"N", b"")) // 5)


def _tolerant(rows: np.ndarray, length: np.ndarray, five: bytes, three: bytes, max_edits: int) -> InsertPositions:
    """Locate inserts between flanks that match exactly or, failing that, with up to ``max_edits`` edits."""
    most = [_most_edits(flank, max_edits) for flank in (five, three)]
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
        # To get the start of the flank, search for the reversed flank from the right: the end of that match is the start.
        columns = np.ascontiguousarray(rows[some].T)[::-1]
        places = np.arange(len(columns))[::-1, None]
        allowed = (places < length[some]) & (places >= first[some])
        edits[1, some], mirrored = _approximate_end(columns, allowed, three[::-1], most[1], later=True)
        end[some] = len(columns) - mirrored
    no_five, no_three = edits > np.array(most)[:, None]
    lost = np.where(no_five, LOSSES.index(NO_FIVE), np.where(no_three, LOSSES.index(NO_THREE), 0))
    lost[no_five & no_three | (lost > 0) & (not (five and three))] = LOSSES.index(NO_FLANK)
    nothing = np.zeros(len(rows), np.int64)
    return InsertPositions(start, end, np.zeros(len(rows), bool), edits.sum(axis=0), lost, nothing, nothing)


def _approximate_end(columns: np.ndarray, allowed: np.ndarray, flank: bytes, most: int, later: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the edits of the best match of ``flank`` in each text (``most + 1`` if none) and the position after the match.

    Semi-global Levenshtein distance (Sellers 1980, doi:10.1016/0196-6774(80)90016-4), computed for all positions of all texts at once, base
    by base of the flank. Texts are the columns of ``columns``. N in the flank matches any base. Matches must end where ``allowed`` is true.
    ``later`` selects the last of equally good matches; neighbouring positions count as one match.
    """
    size, count = columns.shape
    edits = np.zeros((size + 1, count), np.uint8)  # of the flank's first bases, where a match ends before each position
    for number, base in enumerate(flank, start=1):
        wrong = columns == 0 if base == ord("N") else columns != base
        following = np.empty_like(edits)
        following[0] = number
        np.minimum(edits[:-1] + wrong, edits[1:] + np.uint8(1), out=following[1:])
        for _ in range(most):  # further bases in the text; more than `most` do not matter
            following[1:] = np.minimum(following[1:], following[:-1] + np.uint8(1))
        edits = following
    edits = np.where(allowed & (edits[1:] <= most), edits[1:], np.uint8(most + 1))
    best = edits.min(axis=0).astype(np.int64)
    hits = (edits == best) & (best <= most)
    if later:
        begins = hits.copy()
        begins[1:] &= ~hits[:-1]
        begin = size - 1 - begins[::-1].argmax(axis=0)
    else:
        begin = hits.argmax(axis=0)
    behind = ~hits & (np.arange(size)[:, None] > begin)
    last = np.where(behind.any(axis=0), behind.argmax(axis=0), size)
    end = np.where(best <= most, begin + 1, 0)
    # A substitution near the end of the flank can equally be scored as a deletion or insertion with a different end position.
    settled = best > most
    for shift in range(most + 1):
        place = end + shift
        rows = np.flatnonzero(~settled & (place >= len(flank)) & (place <= last))
        edits = np.zeros(len(rows), np.int64)
        for index, base in enumerate(flank):
            if base != ord("N"):
                edits += columns[place[rows] - len(flank) + index, rows] != base
        rows = rows[edits == best[rows]]
        end[rows], settled[rows] = place[rows], True
    return best, end
