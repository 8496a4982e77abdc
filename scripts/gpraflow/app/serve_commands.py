"""The command ``gpraflow serve``, and ``gpraflow export --page``: the page from a server, and as one file."""

import argparse
import errno
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

from gpraflow.app import arguments
from gpraflow.core.errors import ConfigError

_PORT, _LAST_PORT = 8000, 65535


def serve_command(commands: Any) -> None:
    """Add ``gpraflow serve``."""
    parser = commands.add_parser(
        "serve",
        help="a local web page: predictions, effects of substitutions, motif sites, comparisons and designs",
        description="Serve a page for looking at promoters: predictions, in-silico mutagenesis, motif sites, comparisons and designs. "
        "The page is served to this machine only, and nothing leaves it. Ctrl-C ends the server. docs/serve.md describes the page.",
    )
    arguments.add_model(parser)
    parser.add_argument(
        "--port", type=arguments.positive, default=0, metavar="N", help=f"port (default {_PORT}, or a free one if that is in use)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to bind to (default 127.0.0.1: this machine only); others, such as 0.0.0.0, get a token in the page's address",
    )
    parser.add_argument("--name", default="", metavar="TEXT", help="what the page calls the model (default: from its path)")
    add_motifs(parser)
    parser.add_argument(
        "--library", default="", metavar="FILE", help="training promoters, such as results/sample/splits/train.parquet, for designs"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    arguments.add_quiet(parser)
    parser.set_defaults(run=_serve)


def add_motifs(parser: argparse.ArgumentParser, before: str = "") -> None:
    """Add ``--motifs``; ``before`` begins its help."""
    text = "known motifs: a JASPAR, MEME or TRANSFAC file, or none (default: jaspar2026_yeast)"
    parser.add_argument("--motifs", default="", metavar="FILE", help=before + text)


def _known(options: argparse.Namespace) -> list[Any]:
    """Return the motifs of ``--motifs``, none for ``none``."""
    return [] if options.motifs == "none" else arguments.load_motifs(options)


def export_page(options: argparse.Namespace) -> None:
    """Write the page of ``gpraflow export --page``."""
    from gpraflow.serve import offline

    size = offline.write(arguments.load_model(options), options.name or name_of(options.model), options.page, _known(options))
    if not options.quiet:
        print(f"gpraflow: {options.page}, {size / 1e6:.1f} MB", file=sys.stderr)


def name_of(path: str) -> str:
    """Return what to call the model in a path: that of its run, such as sample for results/sample/model."""
    resolved = Path(path).resolve()
    return resolved.parent.name if resolved.name == "model" else resolved.name


def _serve(options: argparse.Namespace) -> None:
    import uvicorn

    from gpraflow.app.design_commands import read_library
    from gpraflow.serve import server

    known = _known(options)
    library = read_library(options.library) if options.library else None
    bound = bind(options.host, options.port)
    pages = server.Pages(arguments.load_model(options), options.name or name_of(options.model), known, library)
    token = "" if server.is_loopback(options.host) else secrets.token_urlsafe(24)
    app = server.application(pages, options.host, token)
    settings = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2)
    pages.prepare()
    bound.listen()  # a browser that is opened at once waits for the server's first turn
    address = page_address(options.host, bound.getsockname()[1], token)
    if token or not options.quiet:
        print(f"gpraflow: {address} (Ctrl-C ends the server)", file=sys.stderr, flush=True)
    if options.open:
        import webbrowser

        webbrowser.open(address)
    try:
        uvicorn.Server(settings).run(sockets=[bound])
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        pages.jobs.cancel_all()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 is 8000, or a free one if that is in use.

    Raises
    ------
    ConfigError
        If the port is in use, or the address is none of this machine's.
    """
    if port > _LAST_PORT:
        raise ConfigError(f"--port {port}: give a number up to {_LAST_PORT}")
    for number in (port,) if port else (_PORT, 0):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            bound = socket.socket(family, kind)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that ended a moment ago does not count
            bound.bind(address)
            return bound
        except socket.gaierror as error:
            raise ConfigError(f"--host {host}: no address of this machine ({error.strerror}); use 127.0.0.1") from error
        except OSError as error:
            if port or not number or error.errno != errno.EADDRINUSE:
                reason = f"--host {host}, port {number}: cannot be used ({error.strerror})"
                raise ConfigError(f"{reason}; choose another with --port, or end the program that uses it") from error
    raise AssertionError


def page_address(host: str, port: int, token: str) -> str:
    """Return the address of the page; that of this machine's name if it is bound to all addresses."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
