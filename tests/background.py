"""Servers of the tests, on loopback, that run beside the test."""

import contextlib
import threading


@contextlib.contextmanager
def serving(server):
    """Run a server of `http.server` or `socketserver` while the block runs; ``shutdown()`` and ``server_close()`` may be called in it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
