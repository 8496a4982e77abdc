"""Progress of long transfers: a bar on a terminal, a line every few seconds elsewhere."""

import threading
import time
from typing import TextIO

from tqdm import tqdm

LINE_EVERY = 5.0  # seconds between lines of progress without a terminal


class Progress:
    """Count transferred bytes; thread-safe.

    Parameters
    ----------
    step, name
        Rule, and name of the transfer.
    begin, total
        Bytes transferred before, and the total if known.
    terminal
        Stream for the bar or the lines; None for no output.
    """

    def __init__(self, step: str, name: str, begin: int, total: int | None, terminal: TextIO | None):
        self.step, self.name, self.at, self.total, self.terminal = step, name, begin, total, terminal
        self.live = terminal is not None and terminal.isatty()
        self.bar = tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=f"{step} {name}", file=terminal, disable=not self.live)
        self.line_time, self.line_bytes = time.monotonic(), begin  # time of the last line, and bytes transferred by then
        self._alone = threading.Lock()

    def __enter__(self) -> "Progress":
        """Return this counter."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self.bar.close()

    def add(self, count: int) -> None:
        """Count transferred bytes."""
        with self._alone:
            self.at += count
            self.bar.update(count)
            if self.terminal is None or self.live or (passed := time.monotonic() - self.line_time) < LINE_EVERY:
                return
            of_all = f" of {amount(self.total)} ({self.at / self.total:.0%})" if self.total else ""
            speed = amount(round((self.at - self.line_bytes) / passed))
            print(f"{self.step}: {self.name}: {amount(self.at)}{of_all}, {speed}/s", file=self.terminal, flush=True)
            self.line_time, self.line_bytes = time.monotonic(), self.at


def amount(count: int) -> str:
    """Return a number of bytes with a unit, such as 3.2 MB."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count:,} bytes"
