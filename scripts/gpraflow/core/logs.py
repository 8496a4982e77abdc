"""Logs of jobs: everything that a job prints, C++ libraries included, and errors as one message on the terminal."""

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from gpraflow.core import limits
from gpraflow.core.errors import explained, is_no_memory
from gpraflow.core.files import cause_of, is_disk_fault
from gpraflow.core.urls import redacted


class _WithoutSecrets(logging.Formatter):
    """Formatter of messages without passwords, signatures and tokens."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def log_to(path: str | os.PathLike) -> TextIO:
    """Send file descriptors 1 and 2 of this process to a log file, C++ libraries included; return the terminal that was there.

    Errors end up in the log with their traceback and on the terminal as one message; for memory and disks, it names the rule and the
    limit. A job that is asked to end (SIGTERM) removes its temporary files first. Without a log, as where the results cannot be written,
    the job ends with a message.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        terminal.write(f"\ngpraflow: {path}: the log could not be written ({error.strerror}). {limits.disk(limits.rule_of(path))}\n\n")
        sys.exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)

    handler = logging.StreamHandler()  # of libraries, such as urllib3's on retries, which quote URLs
    handler.setFormatter(_WithoutSecrets())
    logging.getLogger().addHandler(handler)

    asked_to_end = []

    def end(*_: object) -> None:
        asked_to_end.append(True)  # where a library called Python, it makes an error of its own of the exit
        sys.exit(128 + signal.SIGTERM)

    def report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk has no room for the log either
            print(redacted("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr, flush=True)
        if asked_to_end or kind is KeyboardInterrupt:  # Ctrl-C, of which Snakemake speaks
            return
        terminal.write(f"\ngpraflow: {redacted(_message(error, path))}\n\n")

    if message := limits.too_little(limits.rule_of(path)):
        terminal.write(f"\ngpraflow: {message}\n\n")
        sys.exit(1)
    sys.excepthook = report
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
    return terminal


def _message(error: BaseException, log: str | os.PathLike) -> str:
    rule, full = limits.rule_of(log), is_disk_fault(error)
    if is_no_memory(error):
        return limits.out_of_memory(rule, f"{type(error).__name__}: {str(error)[:200] or 'no details'}")
    if full and isinstance(error, OSError):  # not from `files.whole`
        error = cause_of(error, error.filename or log)
    message = explained(error) or f"{type(error).__name__}: {error} (a bug in gpraflow; traceback in {log})"
    return f"{message}. {limits.disk(rule)}" if full else message
