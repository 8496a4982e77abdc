"""Data-parallel training in several processes, on one or several machines.

JAX only. Every process runs `training.train` on its part of the data; training steps are synchronised. The first process writes the
result; the others write to private scratch folders.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.models import backend
from gpraflow.training import options as training_options
from gpraflow.training import train as training_train

_ADDRESS = "GPRAFLOW_ADDRESS"  # host:port of the first process, number of processes, and index of this process
_LOOKED_AFTER = 0.5  # seconds between checks of the processes
_ENDING = 30  # seconds that processes get to terminate after one has failed


def train(
    receipt_path: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    blueprint: training_options.Blueprint,
    options: training_options.Options,
    backup: str,
    number: int,
    launcher: str = "",
    terminal: TextIO | None = None,
) -> None:
    """Train like `training.train` in ``number`` processes; 1 trains in the current process.

    Parameters
    ----------
    receipt_path, directory, blueprint, options, backup
        As in `training.train`; the folder must be accessible to all processes.
    number
        Number of processes.
    launcher
        Command that starts all processes, such as ``srun --overlap --ntasks=2``; JAX configures itself from its environment variables.
        Empty for processes on this machine.
    terminal
        Stream for progress, in addition to the log.

    Raises
    ------
    ConfigError
        If the backend is not JAX.
    TrainingError
        If a process fails; the log gives the reason.
    """
    if number == 1:
        training_train.train(receipt_path, directory, blueprint=blueprint, options=options, backup=backup, terminal=terminal)
        return
    if options.backend == "tensorflow":
        raise ConfigError("training.backend: only jax trains with several processes; set jax, or the resource processes to 1")
    task = {"receipt": str(receipt_path), "directory": str(directory), "blueprint": asdict(blueprint), "options": asdict(options)}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".json", dir=Path(directory).parent))
        json.dump(task | {"backup": backup, "terminal": terminal.fileno() if terminal and not launcher else None}, file)
        file.flush()
        command = [sys.executable, "-m", "gpraflow.training.processes", file.name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
        if launcher:
            starts = [([*shlex.split(launcher), *command], environment)]
        else:
            address = f"127.0.0.1:{_free_port()}"
            starts = [(command, environment | {_ADDRESS: f"{address} {number} {index}"}) for index in range(number)]
        shown = [terminal.fileno()] if terminal else []
        started = [subprocess.Popen(command, env=environment, pass_fds=shown) for command, environment in starts]
        failed = _wait(started)
    if failed is not None:
        raise TrainingError(f"process {failed + 1} of {number} has failed; see the log of train_model")


def _wait(started: Sequence[subprocess.Popen]) -> int | None:
    """Return the index of the first process that failed, or None; the others, which would wait for it forever, are terminated."""
    try:
        while True:
            codes = [process.poll() for process in started]
            failed = next((place for place, code in enumerate(codes) if code), None)
            if failed is not None or None not in codes:
                return failed
            time.sleep(_LOOKED_AFTER)
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
        for process in started:
            try:
                process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def main(task_path: str) -> None:
    """Run one process of the training described in a file."""
    task: dict[str, Any] = json.loads(Path(task_path).read_text())
    options = training_options.Options(**task["options"])
    backend.select_backend(options.backend)
    import jax
    from jax.experimental import multihost_utils

    if _ADDRESS in os.environ:
        address, number, index = os.environ[_ADDRESS].split()
        jax.distributed.initialize(address, int(number), int(index))
    else:
        jax.distributed.initialize()  # from the variables of Slurm, Open MPI or Google's
    with contextlib.ExitStack() as stack:
        directory = Path(task["directory"])
        if jax.process_index():
            own = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if (directory / training_train.WORK).is_dir():
                shutil.copytree(directory / training_train.WORK, own / training_train.WORK)
            directory = own
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        multihost_utils.sync_global_devices("checkpoints are copied")
        terminal = None
        if task["terminal"] is not None and not jax.process_index():
            terminal = stack.enter_context(os.fdopen(task["terminal"], "w", buffering=1, encoding="utf-8", errors="replace"))
        blueprint = training_options.Blueprint(**task["blueprint"])
        training_train.train(task["receipt"], directory, blueprint=blueprint, options=options, backup=task["backup"], terminal=terminal)
        multihost_utils.sync_global_devices("the model is written")


if __name__ == "__main__":
    main(sys.argv[1])
