"""A fake Kaggle on 127.0.0.1: answers the requests of the real client, keeps state, and fails on demand.

Its lists may lag, a request may take effect and answer an error, the site may be down after a request, each version of
a kernel has its own output, scores need not be numbers, and error texts may echo the credentials.
"""

import json
import math
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from kaggle_answers import TOKEN, USER, Answers, Reply, error, zipped

__all__ = ["TOKEN", "USER", "Fault", "Kaggle", "Reply", "zipped"]


@dataclass
class Fault:
    """A failure of a request.

    `kind`: an HTTP status, `lost` (takes effect, calls the hook if there is one, hangs up), `cut` (hangs up while it
    receives or sends), `stall` (takes effect, answers too late), `text` (200 with an error text), `html`,
    `empty`, `hook`, or `echo` (400 with the request's credentials in its text).
    """

    method: str
    kind: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    hook: Callable[[], None] | None = None
    acted: bool = False
    """Whether the request takes effect nevertheless, for an HTTP status, a page or a hook."""
    outage: bool = False
    """Whether the whole site is down afterwards, until `back`."""
    unlisted: bool = False
    """Whether lists omit this request and later ones, until `back`."""


class Kaggle(ThreadingHTTPServer):
    """The site and its state."""

    daemon_threads = True

    def __init__(self, score: Callable[[bytes], tuple[float | str, ...]] = lambda content: (0.5, 0.25)) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.score = score
        self.allowance = 5
        self.longest_description = 1000
        self.date = "2019-06-24T12:00:00Z"
        """Creation date of all files."""
        self.polls_until_scored = 1
        self.submissions: list[dict] = []
        self.blobs: dict[str, dict] = {}
        self.datasets: dict[str, list[dict[str, bytes]]] = {}
        self.dataset_times: dict[str, list[float]] = {}
        self.dataset_requests: list[dict] = []
        self.kernels: dict[str, list[dict]] = {}
        self.printed = ["line 0", "line 1", "line 2"]
        """Lines that every version of a kernel prints."""
        self.quota: tuple[int, int] | None = (12, 30)
        """Used and allowed GPU hours."""
        self.run_kernel: Callable[[dict], dict[str, bytes]] = lambda request: {}
        self.files: dict[str, bytes] = {}
        self.mirrors: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, dict]] = []
        self.authorizations: list[str] = []
        self.lock = threading.RLock()
        self.stall = 1.0
        self.lag = 0.0
        """Seconds until lists show later requests."""
        self.away = False
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.log)

    def visible(self, things: list[dict]) -> list[dict]:
        """Returns the items that lists show already, each from its time `at` on."""
        return [item for item in things if item.get("at", 0.0) <= time.monotonic()]

    def back(self) -> None:
        """Ends an outage, and lists show all requests."""
        self.away, self.lag = False, 0.0
        for thing in [*self.submissions, *(version for versions in self.kernels.values() for version in versions)]:
            thing["at"] = 0.0
        self.dataset_times = {name: [0.0] * len(times) for name, times in self.dataset_times.items()}

    def fault_at(self, method: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def handle_error(self, request, client_address) -> None:
        """Ignores clients that hang up, as many of these tests do."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(Answers, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # Headers and body in one packet: two would wait 40 ms for each other.
    disable_nagle_algorithm = True
    server: Kaggle

    def log_message(self, *args: object) -> None:
        """Logs nothing."""

    def parse_request(self) -> bool:
        # A client behind a proxy sends the body when the headers are acknowledged, which Linux puts off for 40 ms.
        if hasattr(socket, "TCP_QUICKACK"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().parse_request()

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_POST(self) -> None:
        method = urlsplit(self.path).path.rpartition("/")[2]
        length = int(self.headers["Content-Length"])
        content = self.rfile.read(length)
        if len(content) < length:  # The client was killed while it was sending.
            self.close_connection = True
            return
        body = json.loads(content or b"{}")
        self.server.log.append((method, body))
        self.body = body
        self.answer(method, lambda: self.rpc(method, body))

    def do_PUT(self) -> None:
        token = urlsplit(self.path).path.rpartition("/")[2]
        blob = self.server.blobs[token]
        self.server.log.append(("PUT", {"token": token, "range": self.headers.get("Content-Range")}))
        length = int(self.headers.get("Content-Length") or 0)
        fault = self.server.fault_at("PUT")
        if fault and fault.kind == "cut":
            blob["content"] += self.rfile.read(length // 2)
            self.hang_up()
            return
        content = self.rfile.read(length)

        def put() -> Reply:
            wanted = self.headers.get("Content-Range", "")
            if wanted.startswith("bytes */"):
                if len(blob["content"]) == blob["size"]:
                    return Reply(200, {})
                have = len(blob["content"])
                return Reply(308, b"", {"Range": f"bytes=0-{have - 1}"} if have else {})
            start = int(wanted.split()[1].partition("-")[0]) if wanted else 0
            if start > len(blob["content"]):
                return Reply(400, b"a gap")
            blob["content"] = blob["content"][:start] + content
            return Reply(200, {})

        self.answer("PUT", put, fault)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/storage/")
        self.server.log.append(("GET", {"path": path, "range": self.headers.get("Range")}))
        assert "Authorization" not in self.headers, "credentials must not go to the storage"

        def get() -> Reply:
            content = self.server.mirrors[path]
            headers = {"ETag": f'"{hash(content)}"', "Accept-Ranges": "bytes"}
            wanted = self.headers.get("Range")
            if wanted and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
                return Reply(206, content[int(wanted.removeprefix("bytes=").rstrip("-")) :], headers)
            return Reply(200, content, headers)

        self.answer("GET", get)

    def answer(self, method: str, act: Callable[[], Reply], fault: Fault | None = None) -> None:
        if self.server.away:
            self.hang_up()
            return
        fault = fault or self.server.fault_at(method)
        if fault and fault.outage:
            self.server.away = True
        if fault and fault.unlisted:
            self.server.lag = math.inf
        kind = fault.kind if fault else None
        if isinstance(kind, int):
            if fault.acted:
                act()
            body = fault.body if fault.body is not None else {"error": {"code": kind, "message": f"fault {kind}"}}
            self.send(Reply(kind, body, fault.headers))
            return
        if kind == "hook" and not fault.acted:
            fault.hook()
        if kind == "echo":
            self.send(error(400, f"{self.echo()} is bad"))
            return
        if kind in ("text", "html", "empty"):
            if fault.acted:
                act()
            content = {"text": (fault and fault.body) or "Internal error, please retry", "html": "<html>Sign in</html>"}
            self.send(Reply(200, content.get(kind, "").encode(), {"Content-Type": "text/html"}))
            return
        try:
            with self.server.lock:
                reply = act()
        except Reply as refused:
            reply = refused
        if kind == "hook" and fault.acted:
            fault.hook()
        if kind == "lost":
            if fault.hook:
                fault.hook()
            self.hang_up()
            return
        if kind == "stall":
            time.sleep(self.server.stall)
        self.send(reply, cut=kind == "cut")

    def echo(self) -> str:
        """Returns the credentials in the request."""
        return self.headers.get("Authorization", "") or self.body["token"]

    def send(self, reply: Reply, cut: bool = False) -> None:
        content = reply.body
        if isinstance(content, str):
            content = content.encode()
        kind = "application/octet-stream"
        if not isinstance(content, bytes):
            content, kind = json.dumps(content).encode(), "application/json"
        try:
            self.send_response(reply.status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.wfile.flush()
        except OSError:
            pass
        if cut:
            self.hang_up()

    def rpc(self, method: str, body: dict) -> Reply:
        if method == "IntrospectToken":
            return Reply(200, {"active": body["token"] == TOKEN, "username": USER})
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "Unauthenticated")
        return getattr(self, method)(body)
