"""Logs of jobs: everything that a job prints, C++ libraries included, and errors as one message on the terminal."""

import logging
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from gpraflow.core.errors import explained
from gpraflow.core.urls import redacted


class _WithoutSecrets(logging.Formatter):
    """Formatter of messages without passwords, signatures and tokens."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def log_to(path: str | os.PathLike) -> TextIO:
    """Send file descriptors 1 and 2 of this process to a log file, C++ libraries included; return the terminal that was there.

    Errors end up in the log with their traceback and on the terminal as one message. A job that is asked to end (SIGTERM) removes its
    temporary files first.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)

    handler = logging.StreamHandler()  # of libraries, such as urllib3's on retries, which quote URLs
    handler.setFormatter(_WithoutSecrets())
    logging.getLogger().addHandler(handler)

    def report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        print(redacted("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr, flush=True)
        message = explained(error) or f"{kind.__name__}: {error} (a bug in gpraflow; traceback in {path})"
        terminal.write(f"\ngpraflow: {redacted(message)}\n\n")

    sys.excepthook = report
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return terminal
