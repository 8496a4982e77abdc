"""Regions of a genome that constructs were made of (BED), on either strand."""

import bisect
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gpraflow.core import numbers
from gpraflow.core.errors import InputError, nearest
from gpraflow.formats import text

_COLUMNS = ("chrom", "start", "end", "name", "score", "strand")
_OTHER = str.maketrans("ACGT", "TGCA")


class Region(NamedTuple):
    """A construct's region: 0-based, half-open; ``reverse`` if the construct is the reverse complement of the genome there."""

    start: int
    end: int
    name: str
    reverse: bool


class Place(NamedTuple):
    """A stretch of the genome in a construct: the construct's name, the 0-based position of its 5' end in it, and its strand."""

    name: str
    begin: int
    reverse: bool


class Regions:
    """The regions of a BED file with six columns, one for each construct.

    Parameters
    ----------
    path
        BED file (plain, .gz or .zst): chrom, start (from 0), end (exclusive), name, score, strand. The name is that of the construct.
    sequences, origin
        Construct -> sequence, 5' to 3' on its own strand, and the file that they are from.

    Raises
    ------
    InputError
        If a line is no such region, its name is no construct or occurs twice, or the construct has another length; the message names the
        line.
    """

    def __init__(self, path: str | os.PathLike, sequences: Mapping[str, str], origin: str | os.PathLike):
        self._of_chromosome: dict[str, list[Region]] = defaultdict(list)
        line_of: dict[str, int] = {}
        for number, line in enumerate(text.text_lines(Path(path)), start=1):
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            where = f"{path}, line {number}"
            chromosome, region = _region(line.split("\t"), where)
            if region.name in line_of:
                raise InputError(f"{where}: the construct '{region.name}' is also on line {line_of[region.name]}; give each one region")
            if region.name not in sequences:
                raise InputError(f"{where}: '{region.name}' is not a name in {origin}{nearest(region.name, sequences)}")
            if len(sequences[region.name]) != region.end - region.start:
                raise InputError(
                    f"{where}: the region of '{region.name}' has {region.end - region.start} bp, its sequence in {origin} "
                    f"{len(sequences[region.name])} bp; give the region's own sequence, without flanks, and start counted from 0"
                )
            line_of[region.name] = number
            self._of_chromosome[chromosome].append(region)
        if not line_of:
            raise InputError(f"{path}: no region found; give a BED file with {', '.join(_COLUMNS)}")
        for regions in self._of_chromosome.values():
            regions.sort()
        self._longest = {name: max(region.end - region.start for region in regions) for name, regions in self._of_chromosome.items()}

    @property
    def chromosomes(self) -> list[str]:
        """Return the names of the chromosomes with regions."""
        return list(self._of_chromosome)

    def places(self, chromosome: str, begin: int, end: int) -> tuple[list[Place], int]:
        """Return where the genome from ``begin`` to ``end`` (0-based, half-open) lies in constructs.

        Returns
        -------
        tuple
            The places in constructs that hold all of it, and the number of constructs that hold only a part of it.
        """
        regions, inside, partial = self._of_chromosome.get(chromosome, []), [], 0
        first = bisect.bisect_left(regions, begin - self._longest.get(chromosome, 0), key=lambda region: region.start)
        for region in regions[first : bisect.bisect_left(regions, end, key=lambda region: region.start)]:
            if region.start <= begin and end <= region.end:
                inside.append(Place(region.name, region.end - end if region.reverse else begin - region.start, region.reverse))
            elif begin < region.end:
                partial += 1
        return inside, partial


def reverse_complement(sequence: str) -> str:
    """Return the reverse complement of a sequence of A, C, G, T and N."""
    return sequence.translate(_OTHER)[::-1]


def _region(cells: list[str], where: str) -> tuple[str, Region]:
    if len(cells) < len(_COLUMNS):
        raise InputError(f"{where}: {len(cells)} columns; a BED file with strands has {', '.join(_COLUMNS)}, with tabs between them")
    chromosome, start, end, name, _, strand = (cell.strip() for cell in cells[: len(_COLUMNS)])
    first, last = numbers.parse_count(start), numbers.parse_count(end)
    if first is None or last is None or first >= last:
        raise InputError(f"{where}: start '{start}' and end '{end}'; expected whole numbers, start (counted from 0) below end")
    if strand not in ("+", "-"):
        raise InputError(f"{where}: strand '{strand}' of '{name}'; expected + or -")
    return chromosome, Region(first, last, name, strand == "-")
