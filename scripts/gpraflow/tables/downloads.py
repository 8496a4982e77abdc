"""Download public data sets from Zenodo and mirrors, once for all runs, and verify their checksums."""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter

from gpraflow.core import files, names, numbers
from gpraflow.core.errors import ConfigError, GpraflowError, InputError, nearest
from gpraflow.core.progress import Progress, amount
from gpraflow.core.urls import reason_of, shown_url

try:
    import fcntl
except ImportError:  # not available on Windows
    fcntl = None  # type: ignore[assignment]

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
BLOCK = 1 << 16  # bytes per block: at most this much is lost when a connection breaks
LONGEST_WAIT = 300  # maximum wait in seconds, even if a server requests more
_AGAIN = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Source:
    """A file in the registry of public data sets.

    Parameters
    ----------
    dataset, file
        Name of the data set, and name of the file on Zenodo.
    doi
        ``10.5281/zenodo.N``, of one version or of all versions; empty if only mirrors provide the file.
    checksum
        ``md5:...`` (or sha1, sha256, sha512); empty to use the checksum that Zenodo reports.
    mirrors
        URLs of the file on other servers, tried if Zenodo fails.
    registry
        Location of this entry in the registry, for error messages.
    """

    dataset: str
    file: str
    doi: str = ""
    checksum: str = ""
    mirrors: Sequence[str] = ()
    registry: str = "the registry"


@dataclass(frozen=True)
class Network:
    """Network settings.

    Parameters
    ----------
    api
        URL of Zenodo's REST API.
    mirrors
        URLs with ``{file}`` and optionally ``{dataset}``; tried before Zenodo.
    retries
        Maximum number of retries of a request, and of a connection that broke without receiving any data.
    timeout
        Seconds without data before a connection counts as broken.
    offline
        Use only files that are already present.
    backoff
        Seconds before the second retry; doubled for each further retry, up to a minute.
    """

    api: str = "https://zenodo.org/api"
    mirrors: Sequence[str] = ()
    retries: int = 6
    timeout: float = 60
    offline: bool = False
    backoff: float = 1.0


@dataclass(frozen=True)
class _Expected:
    checksum: str
    size: int | None


class _FaultError(Exception):
    """A server does not provide the file; the next one may."""


def record_id(doi: str, where: str) -> str:
    """Return the number of the Zenodo record of a DOI. The DOI of all versions resolves to the newest version.

    Raises
    ------
    ConfigError
        If it is not a Zenodo DOI. ``where`` names its location in the config or registry.
    """
    match = re.fullmatch(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?10\.5281/zenodo\.(\d+)", doi.strip(), flags=re.IGNORECASE)
    if not match:
        raise ConfigError(
            f"{where}: '{doi}' is not a Zenodo DOI, such as 10.5281/zenodo.1234567; a file from another server needs no doi, but "
            "mirrors and a checksum"
        )
    return match[1]


def checksum_of(path: str | os.PathLike, algorithm: str) -> str:
    """Return the checksum of a file as ``algorithm:hexadecimal digest``."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as handle:
        while block := handle.read(files.BLOCK):
            digest.update(block)
    return f"{algorithm}:{digest.hexdigest()}"


def fetch(path: str | os.PathLike, source: Source, network: Network, terminal: TextIO | None = None) -> dict[str, Any]:
    """Download a file to ``path`` unless it is already present; return its DOI, name, checksum and size.

    The file appears at ``path`` only once its size and checksum are correct. Until then it is ``<path>.part``, from which a later call
    resumes; ``<path>.part.json`` describes the partial file, and parts of another version are discarded. ``<path>.fetched.json`` stores
    the checksum, so that later calls need no network. Existing files are never overwritten.

    Parameters
    ----------
    path
        Destination of the file.
    source
        Registry entry of the file.
    network
        Network settings.
    terminal
        Stream for progress: a progress bar on a terminal, otherwise occasional lines.

    Returns
    -------
    dict
        ``doi``, ``file``, ``checksum``, ``bytes``.

    Raises
    ------
    ConfigError
        If the DOI is not a Zenodo DOI, the checksum algorithm is unknown, or a name cannot be part of a path.
    InputError
        If the record or file does not exist on Zenodo, or ``path`` holds a different file.
    GpraflowError
        If no server provides the file with its checksum, or it cannot be written.
    """
    return _Fetch(Path(path), source, network, terminal).run()


class _Fetch:
    """State of one call of `fetch`."""

    def __init__(self, path: Path, source: Source, network: Network, terminal: TextIO | None):
        self.path, self.source, self.network, self.terminal = path, source, network, terminal
        self.part = path.with_name(path.name + ".part")
        self.about_part = path.with_name(path.name + ".part.json")
        self.about = path.with_name(path.name + ".fetched.json")
        self.where = f"{source.registry}, {source.dataset}"
        names.check(source.dataset, f"{source.registry}, data set", ConfigError)
        names.check(source.file, f"{self.where}, file", ConfigError)
        self.session = _session(network, self.say)
        self.answer: tuple[_Expected, str] | None = None

    def say(self, text: str) -> None:
        print(text, flush=True)
        if self.terminal is not None:
            print(f"fetch_dataset: {text}", file=self.terminal, flush=True)

    def run(self) -> dict[str, Any]:
        with self.session:
            while not self.path.is_file():
                if self.network.offline:
                    origin = f"doi.org/{self.source.doi}" if self.source.doi else " or ".join(map(shown_url, self.source.mirrors))
                    raise GpraflowError(
                        f"{self.path}: this file is missing, and fetch.offline is true; set it to false, or download "
                        f"{self.source.file} from {origin} and copy it there"
                    )
                if (about := self._download()) is not None:
                    return about
            return self._reuse()

    # Expected size and checksum

    def _registered(self) -> _Expected | None:
        if not self.source.checksum:
            return None
        return _Expected(_checked(self.source.checksum, f"{self.where}, {self.source.file}"), None)

    def _recorded(self) -> _Expected | None:
        """Return the size and checksum recorded for this path, if it was the same file of the same DOI."""
        about = _load(self.about)
        if about.get("doi") != self.source.doi or about.get("file") != self.source.file:
            return None
        try:
            checksum = _checked(str(about.get("checksum")), str(self.about))
        except ConfigError:
            self.say(f"{self.about}: damaged; the checksum in it is not used")
            return None
        return _Expected(checksum, size if isinstance(size := about.get("bytes"), int) else None)

    def _from_zenodo(self) -> tuple[_Expected, str]:
        """Return size and checksum from Zenodo's API, and the URL of the file; the API is queried only once."""
        if self.answer is None:
            self.answer = self._query_zenodo()
        return self.answer

    def _query_zenodo(self) -> tuple[_Expected, str]:
        number = record_id(self.source.doi, f"{self.where}.doi")
        url = f"{self.network.api.rstrip('/')}/records/{number}"
        try:
            response = self.session.get(url, timeout=self.network.timeout)
        except requests.RequestException as error:
            raise GpraflowError(
                f"{self.source.file}: {shown_url(url)} cannot be reached ({reason_of(error)}); check the network, or copy the file "
                f"to {self.path} yourself and add its checksum to {self.where}"
            ) from error
        if response.status_code in (404, 410):
            answer = f"{shown_url(url)} returned HTTP {response.status_code}"
            raise InputError(f"{self.where}: Zenodo has no record {number} ({answer}); correct the doi")
        if response.status_code != 200:
            raise GpraflowError(
                f"{self.source.file}: {shown_url(url)} returned HTTP {response.status_code} {response.reason}; "
                f"try again later, or add a checksum and mirrors to {self.where}"
            )
        try:
            entries = {entry["key"]: entry for entry in response.json().get("files") or []}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise GpraflowError(f"{shown_url(url)}: not a record of Zenodo's API; correct fetch.api") from error
        if self.source.file not in entries:
            has = f"it has {', '.join(sorted(entries))}" if entries else "it lists no files; access may be restricted"
            raise InputError(
                f"{self.where}: record {number} has no file '{self.source.file}'{nearest(self.source.file, entries)} ({has}); "
                "correct the name"
            )
        entry = entries[self.source.file]
        links = entry.get("links", {})
        link = links.get("content") or links.get("self") or links.get("download")
        if not link or not entry.get("checksum"):
            raise GpraflowError(f"{shown_url(url)}: the record has no link or no checksum for {self.source.file}; correct fetch.api")
        return _Expected(_checked(entry["checksum"], shown_url(url)), entry.get("size")), link

    # Files already present

    def _reuse(self) -> dict[str, Any]:
        expected = self._registered() or self._recorded()
        if expected is None and (self.network.offline or not self.source.doi):
            raise GpraflowError(
                f"{self.path}: this file exists, but its checksum is unknown and fetch.offline is true; add it to "
                f"{self.where}, or copy {self.about.name} as well"
            )
        expected = expected or self._from_zenodo()[0]
        size = self.path.stat().st_size
        checksum = checksum_of(self.path, expected.checksum.split(":")[0]) if expected.size in (None, size) else ""
        if checksum != expected.checksum:
            actual = checksum or f"{size} bytes"
            target = expected.checksum if checksum else f"{expected.size} bytes ({expected.checksum})"
            raise InputError(
                f"{self.path}: not {self.source.file} of {self.source.dataset}: {actual}, expected {target}; "
                f"move the file elsewhere and run again, or correct {self.where}"
            )
        self.say(f"{self.path} is already present ({checksum})")
        about = self._about(expected.checksum, size)
        if _load(self.about) != about:
            try:
                files.write_json(self.about, about)
            except GpraflowError as error:  # folder owned by another user
                self.say(f"{error}; later runs will query Zenodo again")
        return about

    def _about(self, checksum: str, size: int) -> dict[str, Any]:
        return {"doi": self.source.doi, "file": self.source.file, "checksum": checksum, "bytes": size}

    # Download

    def _download(self) -> dict[str, Any] | None:
        """Download the file and return its description; None if another process downloaded it meanwhile."""
        expected = self._registered()
        if expected is None:
            expected = self._from_zenodo()[0]
        with self._partial(expected) as handle:
            if handle is None:
                return None
            faults = []
            for url in self._places():
                name = shown_url(url) if url else f"Zenodo ({self.source.doi})"
                try:
                    size = self._get(url or self._zenodo(expected), handle, expected)
                except _FaultError as fault:
                    self.say(f"{name}: {fault}")
                    faults.append(f"  {name}: {fault}")
                    continue
                os.fsync(handle.fileno())
                about = self._about(expected.checksum, size)
                files.write_json(self.about, about)
                os.replace(self.part, self.path)
                self.say(f"{self.path}: {amount(size)}, {expected.checksum}")
                return about
            kept = handle.tell()
        rest = f"{amount(kept)} are kept in {self.part.name}; the same command resumes from there" if kept else "no data are kept"
        raise GpraflowError(
            f"{self.path}: no server provides {self.source.file} with {expected.checksum}:\n" + "\n".join(faults) + f"\n{rest}. Try again "
            f"later, add other mirrors (fetch.mirrors), or correct {self.where} if the checksum there is wrong"
        )

    def _places(self) -> list[str]:
        """Return the URLs to try, in order. An empty URL means Zenodo, whose URL comes from its API."""
        names = {"{dataset}": quote(self.source.dataset), "{file}": quote(self.source.file)}
        own = [mirror.replace("{dataset}", names["{dataset}"]).replace("{file}", names["{file}"]) for mirror in self.network.mirrors]
        return [*own, *([""] if self.source.doi else []), *self.source.mirrors]

    def _zenodo(self, expected: _Expected) -> str:
        try:
            says, link = self._from_zenodo()
        except GpraflowError as error:
            raise _FaultError(str(error)) from error
        if says.checksum != expected.checksum and says.checksum.split(":")[0] == expected.checksum.split(":")[0]:
            raise _FaultError(f"has {says.checksum}, but {expected.checksum} is expected")
        return link

    @contextmanager
    def _partial(self, expected: _Expected) -> Iterator[Any]:
        """Open the partial file for appending, locked for this process; None if another process completed it. Remove it if left empty."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = open(self.part, "a+b", buffering=0)  # noqa: SIM115 (closed below); unbuffered, so data survive if the process is killed
        except OSError as error:
            raise GpraflowError(f"{self.part}: {error.strerror}; choose another folder (key data) or repair this one") from error
        with handle:
            _lock(handle, lambda: self.say(f"another process is downloading {self.path}; waiting for it"))
            if not self.part.exists() or not os.path.samestat(os.fstat(handle.fileno()), os.stat(self.part)):
                yield None
                return
            try:
                description = {"checksum": expected.checksum, "bytes": expected.size}
                if handle.seek(0, os.SEEK_END) and _load(self.about_part) != description:
                    self.say(f"{self.part.name} belongs to another version; restarting the download")
                    _empty(handle)
                files.write_json(self.about_part, description)
                yield handle
            except OSError as error:
                raise GpraflowError(
                    f"{self.part}: could not be written ({error.strerror or error}) at {amount(handle.seek(0, os.SEEK_END))}; free space "
                    "or choose another folder (key data), then run the same command, which resumes from there"
                ) from error
            finally:
                with suppress(OSError):
                    if not handle.seek(0, os.SEEK_END):
                        self.part.unlink(missing_ok=True)
                    if not self.part.exists():
                        self.about_part.unlink(missing_ok=True)

    def _get(self, url: str, handle: Any, expected: _Expected) -> int:
        """Complete the partial file from one server; return its size in bytes. Data with a wrong checksum are discarded."""
        resumed = handle.seek(0, os.SEEK_END)
        while True:
            self._go_on(url, handle, expected)
            size = handle.seek(0, os.SEEK_END)
            checksum = checksum_of(self.part, expected.checksum.split(":")[0])
            if checksum == expected.checksum:
                return size
            _empty(handle)
            if not resumed:
                raise _FaultError(f"sent a different file: {checksum} ({size} bytes), expected {expected.checksum}; discarded")
            self.say(f"the data kept in {self.part.name} have another checksum; restarting the download")
            resumed = 0

    def _go_on(self, url: str, handle: Any, expected: _Expected) -> None:
        """Download to the end, resuming broken connections. Only failures without any new data count as retries."""
        farthest, breaks = handle.tell(), 0
        while True:
            try:
                self._stream(url, handle, expected)
                return
            except urllib3.exceptions.HTTPError as error:
                at = handle.tell()
                breaks = breaks + 1 if at <= farthest else 1
                farthest = max(farthest, at)
                if breaks > self.network.retries:
                    raise _FaultError(f"the connection broke {breaks} times at {amount(at)} ({reason_of(error)})") from error
                wait = min(self.network.backoff * 2 ** (breaks - 1), 60)
                self.say(f"the connection broke at {amount(at)} ({reason_of(error)}); retrying in {wait:.0f} s")
                time.sleep(wait)

    def _stream(self, url: str, handle: Any, expected: _Expected) -> None:
        begin = handle.tell()
        if expected.size is not None and begin == expected.size:
            return
        if expected.size is not None and begin > expected.size:
            begin = _empty(handle)
        with self._request(url, begin) as response:
            offered = response.headers.get("Content-Range", "") if response.status_code == 206 else ""
            if begin and not offered.startswith(f"bytes {begin}-"):
                if response.status_code not in (200, 206, 416):
                    raise _FaultError(f"returned HTTP {response.status_code} {response.reason}")
                self.say(f"{shown_url(url)} cannot resume at {amount(begin)}; restarting the download")
                begin = _empty(handle)
                if response.status_code != 200:  # the response holds a different range, or no data
                    return self._stream(url, handle, expected)
            elif response.status_code != (206 if begin else 200):
                raise _FaultError(f"returned HTTP {response.status_code} {response.reason}")
            length = response.headers.get("Content-Length", "")
            total = expected.size if (size := numbers.parse_count(length)) is None else begin + size
            if expected.size is not None and total != expected.size:
                raise _FaultError(f"offers {total} bytes, expected {expected.size}")
            self._room(handle, begin, total)
            with Progress("fetch_dataset", self.source.file, begin, total, self.terminal) as progress:
                for block in response.raw.stream(BLOCK, decode_content=False):
                    _write(handle, block)
                    progress.add(len(block))
        if total is not None and handle.tell() < total:
            raise urllib3.exceptions.IncompleteRead(handle.tell(), total - handle.tell())

    def _request(self, url: str, begin: int) -> requests.Response:
        try:
            return self.session.get(url, headers={"Range": f"bytes={begin}-"} if begin else {}, stream=True, timeout=self.network.timeout)
        except requests.RequestException as error:
            raise _FaultError(f"cannot be reached ({reason_of(error)})") from error

    def _room(self, handle: Any, begin: int, total: int | None) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if total is not None and total - begin > free:
            raise GpraflowError(
                f"{self.path}: needs {amount(total - begin)} more, but only {amount(free)} are free in {self.path.parent}; "
                "free space or choose another folder (key data), then run the same command"
            )


def _session(network: Network, say: Any) -> requests.Session:
    """Return a session that waits and retries when a server is busy or does not respond."""

    class Patient(urllib3.Retry):
        def get_retry_after(self, response: Any) -> float | None:
            try:
                seconds = super().get_retry_after(response)
                reset = response.headers.get("X-RateLimit-Reset")  # Unix time at which Zenodo's rate limit ends
                if seconds is None and response.status == 429 and reset:
                    seconds = min(max(float(reset) - time.time(), 0.0), LONGEST_WAIT)
            except (ValueError, urllib3.exceptions.InvalidHeader):
                return None
            return seconds

        def sleep(self, response: Any = None) -> None:
            wait = (self.get_retry_after(response) if response is not None else None) or self.get_backoff_time()
            what = f"returned HTTP {response.status}" if response is not None else "does not respond"
            say(f"the server {what}; retrying in {wait:.0f} s")
            time.sleep(wait)

    patience = Patient(
        total=network.retries,
        status_forcelist=_AGAIN,
        allowed_methods=["GET"],
        backoff_factor=network.backoff,
        backoff_max=60,
        retry_after_max=LONGEST_WAIT,
        raise_on_status=False,
    )
    session = requests.Session()
    # No compression: byte counts and resuming need the bytes of the file itself.
    session.headers.update({"User-Agent": "gpraflow", "Accept-Encoding": "identity"})
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=patience))
    return session


def _checked(checksum: str, where: str) -> str:
    """Return a checksum in lower case; an unsupported algorithm is a `ConfigError`."""
    algorithm, _, digest = checksum.lower().partition(":")
    if algorithm not in ALGORITHMS or not re.fullmatch("[0-9a-f]+", digest):
        raise ConfigError(f"{where}: the checksum '{checksum}' is not {', '.join(f'{name}:...' for name in ALGORITHMS)} in hexadecimal")
    return f"{algorithm}:{digest}"


def _load(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is missing or corrupt."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _lock(handle: Any, waiting: Any) -> None:
    """Lock a file for this process until it is closed, if the file system supports locks."""
    if fcntl is None:
        return
    with suppress(OSError):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)


def _empty(handle: Any) -> int:
    handle.truncate(0)
    return handle.seek(0)


def _write(handle: Any, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[handle.write(rest) :]
