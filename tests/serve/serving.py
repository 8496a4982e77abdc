"""The page's server beside a test, and models for it whose predictions are known."""

import contextlib
import json
import socket
import threading
import time

import uvicorn

from gpraflow.prediction import calibration
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.serve import server
from tests import toy

CONDITIONS = ["glucose", "galactose"]
PATIENCE = 60_000  # ms, on a machine that is busy with other tests


@contextlib.contextmanager
def serving(app, port=0):
    """Serve an application on loopback while the block runs; yield its address."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()


def pages(folder, **options):
    """Return the page of a model directory."""
    return server.Pages(prediction_predictor.Predictor(folder), "toy", **options)


def two_conditions(folder):
    """Write a model of two conditions: expression in the second is that in the first plus 2."""
    toy.write_model(folder, spread=(0.0, 2.0))
    about = json.loads((folder / "model.json").read_text())
    known = toy.calibrate(folder, prediction_predictor.predict(folder, toy.table(400, 2)))
    (folder / "model.json").write_text(json.dumps(about | {"members": 1, "conditions": CONDITIONS}))
    calibration.write(dict.fromkeys([*CONDITIONS, "galactose-glucose"], known), folder / calibration.FILE)
    return folder
