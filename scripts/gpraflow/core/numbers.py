"""Numbers as text: decimal numbers only, not all that Python's ``float`` takes (``1_000``, digits of other scripts)."""

import re

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,5})?", re.ASCII)
_SPECIAL = re.compile(r"[-+]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_LONGEST = 400  # characters


def parse(text: str) -> float | None:
    """Return the number that ``text`` is, or None; NaN and infinities are numbers here, for the caller to judge."""
    if len(text) <= _LONGEST and (_NUMBER.fullmatch(text) or _SPECIAL.fullmatch(text)):
        return float(text)
    return None


def parse_count(text: str) -> int | None:
    """Return the whole number of 0 or more that ``text`` is, in ASCII digits, or None; more than 18 digits are none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
