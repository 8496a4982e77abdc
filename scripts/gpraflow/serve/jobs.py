"""Searches for designs, one at a time, in a thread of their own."""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from gpraflow.core.errors import ConfigError, explained
from gpraflow.core.numbers import parse_count
from gpraflow.design import designs
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.serve import answers

MOST_DESIGNS, MOST_BUDGET = 50, 2000
_KEPT = 5  # finished searches whose results can still be asked for
RUNNING, DONE, CANCELLED, FAILED = "running", "done", "cancelled", "failed"


class _Cancelled(KeyboardInterrupt):
    """Ends a search as an interrupt does: `designs.Designer.run` then returns the objectives that are finished."""


@dataclass
class Job:
    """A search for designs.

    Attributes
    ----------
    make
        Returns the search, given a function that counts calls of the model; it may call the model itself.
    total
        Calls of the model that it may make.
    calls, state
        Calls made so far; `RUNNING`, `DONE`, `CANCELLED` or `FAILED`.
    error, notes, rows
        Message of a failed search; what falls short; the designs.
    """

    make: Callable[[Callable[[int], None]], designs.Designer]
    total: int
    calls: int = 0
    state: str = RUNNING
    error: str = ""
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def advance(self, calls: int) -> None:
        """Count calls of the model; end the search if it was cancelled."""
        self.calls += calls
        if self.cancelled.is_set():
            raise _Cancelled

    def run(self, predictor: Predictor) -> None:
        """Search, and keep the result or the message."""
        try:
            found = self.make(self.advance).run()
            self.rows, self.notes = _rows(predictor, found.table), found.notes
            self.state = CANCELLED if found.partial else DONE
        except KeyboardInterrupt:
            self.state = CANCELLED
        except Exception as error:  # noqa: BLE001 (the page shows it; the thread has no one else to tell)
            self.state = FAILED
            self.error = explained(error) or f"{type(error).__name__}: {error} (a bug in gpraflow)"

    def shown(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "state": self.state,
            "calls": min(self.calls, self.total),
            "total": self.total,
            "error": self.error,
            "notes": self.notes,
            "designs": self.rows,
        }


def _rows(predictor: Predictor, table: pl.DataFrame) -> list[dict[str, Any]]:
    whole = table.select("name", "sequence")
    return [
        about | {"insert": insert, "edits": edits, "within_tolerance": within}
        for about, (insert, edits, within) in zip(
            answers.predictions(predictor, whole) if whole.height else [],
            table.select("insert", "edits", "within_tolerance").iter_rows(),
            strict=True,
        )
    ]


class Jobs:
    """Searches of the page: one at a time; the last ones are kept."""

    def __init__(self, predictor: Predictor, known: Sequence[Motif], library: pl.DataFrame | None = None):
        self.predictor, self.known, self.library = predictor, known, library
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, request: Mapping[str, Any]) -> str:
        """Start a search and return its number.

        Parameters
        ----------
        request
            ``objective`` (``maximize``, ``minimize`` or ``target``), ``target``, ``number``, ``budget``, ``start`` (a promoter; empty for
            random inserts), ``max_edits``, ``protect`` (positions of the insert, such as ``5-20``), ``forbid_sites`` and ``readout``.

        Raises
        ------
        ConfigError, InputError
            If the request cannot be met, or a search is running.
        """
        predictor = self.predictor.of(str(request.get("readout", "")))
        options, start = options_of(request, self.known), str(request.get("start", ""))
        given = None
        if start:
            rows = pl.DataFrame({"row": [1], "name": ["the promoter"], "sequence": answers.one(predictor, start)})
            given = designs.given_starts(predictor, rows, "start")
        job = Job(partial(designs.Designer, predictor, options, self.library, given), total=options.number * options.budget)
        with self._lock:
            if any(other.state == RUNNING for other in self._jobs.values()):
                raise ConfigError("A search for designs is running already; wait until it ends, or cancel it.")
            number = secrets.token_hex(8)
            for old in list(self._jobs)[: max(len(self._jobs) + 1 - _KEPT, 0)]:
                del self._jobs[old]
            self._jobs[number] = job
        threading.Thread(target=job.run, args=[self.predictor], name="designs", daemon=True).start()
        return number

    def get(self, number: str) -> Job | None:
        """Return a search; None if there is none of this number, or no longer."""
        return self._jobs.get(number)

    def cancel_all(self) -> None:
        """Cancel the running search."""
        for job in list(self._jobs.values()):
            job.cancelled.set()


def options_of(request: Mapping[str, Any], known: Sequence[Motif]) -> designs.Options:
    """Return the options of a request (`Jobs.start`).

    Raises
    ------
    ConfigError
        If a value is none that the page can ask for.
    """
    objective = request.get("objective")
    if objective not in ("maximize", "minimize", "target"):
        raise ConfigError("objective: choose maximize, minimize or target")
    target = request.get("target")
    if objective == "target" and (isinstance(target, bool) or not isinstance(target, (int, float))):
        raise ConfigError("Target: give the expression that designs should have, as a number.")
    start = bool(request.get("start"))
    keys: dict[str, Any] = {
        "objectives": [objective],
        "targets": [float(target)] if objective == "target" else [],  # type: ignore[arg-type]
        "number": _count(request, "number", 1, MOST_DESIGNS, "Designs"),
        "budget": _count(request, "budget", 1, MOST_BUDGET, "Predictions per design"),
        "max_edits": _count(request, "max_edits", 0, answers.LONGEST, "Substitutions") if start else 0,
        "protect": _words(request, "protect"),
        "forbid_sites": _words(request, "forbid_sites"),
        "starts": "given" if start else "random",
        "min_distance": 1,
    }
    return designs.options_of(keys, known)


def _count(request: Mapping[str, Any], key: str, least: int, most: int, title: str) -> int:
    value = request.get(key)
    number = None if isinstance(value, bool) else parse_count(str(value))
    if number is None or not least <= number <= most:
        raise ConfigError(f"{title}: give a whole number from {least} to {most:,}.")
    return number


def _words(request: Mapping[str, Any], key: str) -> list[str]:
    value = request.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{key}: give a list of texts")
    return [word.strip() for word in value if word.strip()]
