"""What the inspection of an input finds: what was understood, proposals for the config, and errors that would stop a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Proposal:
    """A finding, and what to do.

    ``keys`` are config keys with dots and the values to set, such as ``{"input.transform": "log2"}``. ``advice`` is what no key can do.
    ``scaffolds`` are entries of a file of scaffolds that ``keys`` refer to.
    """

    finding: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    scaffolds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass
class Inspection:
    """What was found in one input.

    ``lines`` are what was understood and its value, ``errors`` the messages with which a run would stop.
    """

    title: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def say(self, what: str, value: str) -> None:
        """Add a line of what was understood."""
        self.lines.append((what, value))

    def propose(self, finding: str, keys: Mapping[str, Any] | None = None, advice: str = "", **others: Any) -> None:
        """Add a proposal."""
        self.proposals.append(Proposal(finding, dict(keys or {}), advice, **others))


def percent(share: float) -> str:
    """Return a share as a percentage with as many digits as it deserves: 0 %, <0.1 %, 0.3 %, 42 %, 99.6 %, 100 %."""
    value = 100 * share
    if 0 < value < 0.05 or 99.95 < value < 100:
        return "<0.1 %" if value < 1 else ">99.9 %"
    digits = 1 if 0 < value < 10 or 99 < value < 100 else 0
    return f"{value:.{digits}f} %"


def about(number: float) -> str:
    """Return a number with two significant digits: 1,200,000."""
    size = max(0, len(str(int(number))) - 2)
    return f"{int(round(number / 10**size) * 10**size):,}"


def span(low: float, high: float, unit: str = "bp") -> str:
    """Return a range, or its one value: ``75 bp``, ``48 to 112 bp``."""
    return f"{low:g} {unit}".strip() if low == high else f"{low:g} to {high:g} {unit}".strip()
