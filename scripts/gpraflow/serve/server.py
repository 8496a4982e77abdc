"""The page's server: a Starlette application for one model.

It takes nothing but JSON with sequences and numbers; no request names a file, and nothing leaves the machine. What it is guarded against:

- pages of other origins: requests must have the content type of JSON, which browsers send to other origins only if these allow it, and
  ``Origin`` must be the server's own;
- DNS rebinding: ``Host`` must be a name of this machine;
- others in the network: bound to an address that others reach, it demands a token;
- large requests: bodies of more than 1 MB, more than 1,000 promoters or longer ones than 2,000 bp are refused.
"""

import hmac
import ipaddress
import json
import socket
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpraflow.core.errors import ConfigError, InputError, explained
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.serve import answers, model, page
from gpraflow.serve.jobs import Jobs

TOKEN = "x-gpraflow-token"  # header of requests; the page takes it from its address (?token=...)
_REMEMBERED = 64  # promoters whose effects are kept: for sites, undo and comparisons
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Return whether an address or name is that of this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses requests that do not come from the page itself, before anything else is done, and adds headers to answers.

    Parameters
    ----------
    app
        The application.
    loopback
        Whether the server is bound to loopback: ``Host`` must then be a name of loopback. Otherwise it may be any address, this machine's
        name, or ``hosts``: DNS rebinding needs a name of the attacker's.
    hosts
        Further names.
    token
        Token that each request must have; empty for none.
    """

    def __init__(self, app: ASGIApp, loopback: bool, hosts: Sequence[str] = (), token: str = ""):
        self._app, self._loopback, self._token = app, loopback, token
        self._hosts = {name.lower() for name in (socket.gethostname(), socket.getfqdn(), *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in _HEADERS.items())]
            await send(message)

        refused = self._refused(request)
        await (refused or self._app)(scope, receive, with_headers)

    def _refused(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._knows(host):
            return _error("This address is not one of this server's; open the address that gpraflow serve printed.", 421)
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return _error("Requests from other pages are refused.", 403)
        given = request.headers.get(TOKEN) or request.query_params.get("token", "")
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            return _error("The token is missing or wrong; open the address that gpraflow serve printed, with its token.", 403)
        if request.method == "POST" and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _error("Requests must be JSON.", 415)
        return None

    def _knows(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if self._loopback:
            return is_loopback(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name == "localhost" or name in self._hosts
        return True


def _error(message: str, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": message}, status)


async def _content(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request.

    Raises
    ------
    InputError
        If it is none.
    _TooLargeError
        If it is larger than `answers.MOST_BYTES`; the rest is not read.
    """
    # Letters of other scripts take several bytes; what the page sends besides the text is short.
    limit, body = answers.MOST_BYTES + 4096, bytearray()
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _TooLargeError(int(declared))
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _TooLargeError(len(body))
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("The request is no JSON.") from error
    if not isinstance(content, dict):
        raise InputError("The request is no JSON object.")
    return content


class _TooLargeError(Exception):
    def __init__(self, size: int):
        super().__init__(f"The text has more than {answers.MOST_BYTES / 2**20:.0f} MB ({size / 2**20:.1f} MB).")


def _text(content: dict[str, Any], key: str, default: str | None = None) -> str:
    value = content.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"The request lacks the text '{key}'.")
    return value


class Pages:
    """The page of one model and its answers.

    Parameters
    ----------
    predictor
        The model.
    name
        What the page calls it.
    known
        Known motifs, for sites; none for a page without sites.
    library
        Training promoters, from which designs keep their distance; None if unknown.
    """

    def __init__(self, predictor: Predictor, name: str, known: Sequence[Motif] = (), library: pl.DataFrame | None = None):
        self.predictor = model.SharedPredictor(predictor)
        self.known, self.jobs = known, Jobs(self.predictor, known, library)
        self._html = page.html({"model": answers.describe(self.predictor, name), "motifs": bool(known)})
        self._motifs: list[Motif] | None = None if known else []
        self._effects = lru_cache(_REMEMBERED)(partial(answers.substitution_effects, self.predictor))

    def prepare(self) -> None:
        """Compile the network, then find the motifs that the model uses, in a thread of their own; the page works meanwhile."""

        def work() -> None:
            self.predictor.warm_up()
            self._motifs = model.survey(self.predictor, self.known)

        threading.Thread(target=work, name="motifs", daemon=True).start()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self._page),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
            Route("/api/predict", self._answer(self._predict), methods=["POST"]),
            Route("/api/explain", self._answer(self._explain), methods=["POST"]),
            Route("/api/sites", self._answer(self._sites), methods=["POST"]),
            Route("/api/compare", self._answer(self._compare), methods=["POST"]),
            Route("/api/designs", self._answer(self._start), methods=["POST"]),
            Route("/api/designs/{number}", self._job),
            Route("/api/designs/{number}/cancel", self._answer(lambda content: {}, then=self._cancel), methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(self._html)

    def _answer(
        self, answer: Callable[[dict[str, Any]], dict[str, Any]], then: Callable[[Request], None] | None = None
    ) -> Callable[[Request], Any]:
        """Return an endpoint that answers JSON with JSON, in a thread; errors of users are sentences."""

        async def endpoint(request: Request) -> Response:
            try:
                content = await _content(request)
                found = await run_in_threadpool(answer, content)
                if then:
                    then(request)
            except _TooLargeError as error:
                return _error(f"{error} Give fewer promoters, or use gpraflow predict, which reads files of any size.", 413)
            except (InputError, ConfigError) as error:
                return _error(str(error))
            except Exception as error:  # noqa: BLE001 (the server lives on; its terminal and the page say what happened)
                if not (message := explained(error)):
                    traceback.print_exc()
                return _error(message or f"{type(error).__name__}: {error} (a bug in gpraflow)", 500)
            return JSONResponse(found)

        return endpoint

    def _predict(self, content: dict[str, Any]) -> dict[str, Any]:
        return answers.predict(self.predictor, _text(content, "text"), _text(content, "file", "")[:100])

    def _explain(self, content: dict[str, Any]) -> dict[str, Any]:
        return answers.explain(self.predictor, self._effects, _text(content, "sequence"), _text(content, "readout", ""))

    def _sites(self, content: dict[str, Any]) -> dict[str, Any]:
        if self._motifs is None:
            return {"ready": False, "sites": []}
        sequence, readout = _text(content, "sequence"), _text(content, "readout", "")
        found = answers.find_sites(self.predictor, self._effects, self._motifs, sequence, readout)
        return {"ready": True, "motifs": len(self._motifs), "sites": found}

    def _compare(self, content: dict[str, Any]) -> dict[str, Any]:
        return {"effects": answers.compare(self.predictor, _text(content, "ref"), _text(content, "alt"))}

    def _start(self, content: dict[str, Any]) -> dict[str, Any]:
        return {"job": self.jobs.start(content)}

    async def _job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["number"])
        if job is None:
            return _error("This search is not known (any more); the server was started again. Start the search again.", 404)
        return JSONResponse(job.shown())

    def _cancel(self, request: Request) -> None:
        if job := self.jobs.get(request.path_params["number"]):
            job.cancelled.set()


def application(pages: Pages, host: str, token: str = "", hosts: Sequence[str] = ()) -> ASGIApp:
    """Return the application, guarded for the address that it is bound to; ``token`` may be empty on loopback only.

    Raises
    ------
    ConfigError
        If there is no token, but others can reach the address.
    """
    loopback = is_loopback(host)
    if not loopback and not token:
        raise ConfigError(f"--host {host}: others can reach this address, which needs a token")
    return Guard(Starlette(routes=pages.routes()), loopback, hosts, token)
