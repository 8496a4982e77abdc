"""A server on loopback that speaks as much of Zenodo's API as gpraflow asks for, with switches for what goes wrong."""

import hashlib
import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests import background

RECORD = 10633252


def md5(content):
    return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()


class Zenodo(ThreadingHTTPServer):
    """Files by name in ``files``; ``requests`` holds (path, Range header, bytes sent) in order."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = dict(files), []
        self.checksums = {}  # file -> what the record claims, if not the truth
        self.served = {}  # file -> what is sent, if not the file
        self.answers = []  # (part of the path, status, headers): given once each, before anything else
        self.drops = []  # bytes of a file's body after which the connection is cut, once each
        self.ranges = True  # whether Range is heeded
        self.delay = 0.0  # seconds before each 10 kB
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.api = f"{self.url}/api"

    def handle_error(self, request, client_address):  # clients that are killed
        pass

    def asked(self, part):
        return [request for request in self.requests if part in request[0]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        seen = [self.path, self.headers.get("Range"), 0]
        server.requests.append(seen)
        for entry in server.answers:
            if entry[0] in self.path:
                server.answers.remove(entry)
                return self.answer(entry[1], b"{}", entry[2])
        if self.path == "/api/records/10633251":  # all versions
            return self.answer(302, b"", [("Location", f"{server.api}/records/{RECORD}")])
        if self.path == f"/api/records/{RECORD}":
            entries = [
                {
                    "key": name,
                    "size": len(content),
                    "checksum": server.checksums.get(name, md5(content)),
                    "links": {"self": f"{server.api}/records/{RECORD}/files/{name}/content"},
                }
                for name, content in server.files.items()
            ]
            return self.answer(200, json.dumps({"id": RECORD, "files": entries}).encode())
        match = re.fullmatch(rf"/(?:api/records/{RECORD}/files|mirror/dream)/([^/]+)(?:/content)?", self.path)
        if not match or match[1] not in server.files:
            return self.answer(404, b'{"status": 404}')
        return self.content(server.served.get(match[1], server.files[match[1]]), seen)

    def content(self, whole, seen):
        server, begin = self.server, 0
        if server.ranges and seen[1]:
            begin = int(re.fullmatch(r"bytes=(\d+)-", seen[1])[1])
            if begin >= len(whole):
                return self.answer(416)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(whole) - begin))
        self.end_headers()
        end = min(len(whole), begin + server.drops.pop(0)) if server.drops else len(whole)
        for at in range(begin, end, 10_000):
            time.sleep(server.delay)
            seen[2] += self.wfile.write(whole[at : min(at + 10_000, end)])
        if end < len(whole):
            self.close_connection = True
        return None


def serving(files):
    """Run the server while the block runs; ``shutdown()`` and ``server_close()`` may be called in it."""
    return background.serving(Zenodo(files))
