"""Segments of the insert: which bases are promoter, barcode or constant (``scaffold.segments``). Imports nothing, for the Snakefile."""

import re
from dataclasses import dataclass
from typing import Literal

from gpraflow.core.errors import ConfigError

_ONE = re.compile(r"(promoter|barcode|constant) (\d+|\*)")


@dataclass(frozen=True)
class Segment:
    """A segment of the insert: its kind, and its length in bp; None for the rest of the insert."""

    kind: Literal["promoter", "barcode", "constant"]
    length: int | None


def parse(text: str) -> tuple[Segment, ...]:
    """Return the segments in a text such as ``promoter 100, barcode 20``, in order from 5' to 3'; none for an empty text.

    Raises
    ------
    ConfigError
        If a segment is not a kind and a length, a length is 0, no segment is a promoter, or more than one has the length ``*``.
    """
    if not text.strip():
        return ()
    example = "give kinds and lengths from 5' to 3', such as 'promoter 100, barcode 20'; one length can be * for the rest of the insert"
    segments = []
    for part in text.split(","):
        match = _ONE.fullmatch(" ".join(part.split()))
        if not match or match[2].strip("0") == "":
            raise ConfigError(f"scaffold.segments: '{part.strip()}' is not a kind (promoter, barcode or constant) and a length; {example}")
        segments.append(Segment(match[1], None if match[2] == "*" else int(match[2])))  # type: ignore[arg-type]
    if all(segment.kind != "promoter" for segment in segments):
        raise ConfigError(f"scaffold.segments: '{text}' has no promoter; {example}")
    if sum(segment.length is None for segment in segments) > 1:
        raise ConfigError(f"scaffold.segments: '{text}' has more than one segment of length *; {example}")
    return tuple(segments)
