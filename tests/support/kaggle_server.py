"""A Kaggle of our own on 127.0.0.1: answers the requests of the real client, keeps state, and fails on demand.

Its lists may lag behind what was done, an act may succeed and answer an error, the site may go away after an act,
kernels have versions with an output each, scores need not be numbers, and error texts may echo the credentials.
"""

import base64
import io
import json
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

USER, TOKEN = "ada", "KGAT_secret-of-ada"


@dataclass
class Fault:
    """What goes wrong at a request.

    `kind`: an HTTP status, `lost` (acts, calls the hook if there is one, hangs up), `cut` (hangs up in the middle of
    what it receives or sends), `stall` (acts, then answers too late), `text` (200 with an error text), `html`,
    `empty`, `hook`, or `echo` (400 with the request's credentials in its text).
    """

    method: str
    kind: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    hook: Callable[[], None] | None = None
    acted: bool = False
    """For an HTTP status, a page or a hook: whether the server does what it is asked for all the same."""
    outage: float = 0.0
    """Seconds that the whole site is away afterwards."""


class Kaggle(ThreadingHTTPServer):
    """The state of the site."""

    daemon_threads = True

    def __init__(self, score: Callable[[bytes], tuple[float | str, ...]] = lambda content: (0.5, 0.25)) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.score = score
        self.allowance = 5
        self.polls_until_scored = 1
        self.submissions: list[dict] = []
        self.blobs: dict[str, dict] = {}
        self.datasets: dict[str, list[dict[str, bytes]]] = {}
        self.dataset_times: dict[str, list[float]] = {}
        self.dataset_requests: list[dict] = []
        self.kernels: dict[str, list[dict]] = {}
        self.run_kernel: Callable[[dict], dict[str, bytes]] = lambda request: {}
        self.files: dict[str, bytes] = {}
        self.mirrors: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, dict]] = []
        self.authorizations: list[str] = []
        self.lock = threading.RLock()
        self.stall = 1.0
        self.lag = 0.0
        """Seconds until a list shows what was done."""
        self.away_until = 0.0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.log)

    def visible(self, things: list[dict]) -> list[dict]:
        """Those that lists show already; each tells by `at` when it was made."""
        return [one for one in things if one.get("at", 0.0) + self.lag <= time.monotonic()]

    def fault_at(self, method: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def handle_error(self, request, client_address) -> None:
        """Quiet about a client that went away: that is what these tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Reply(Exception):
    def __init__(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        self.body = body


def error(status: int, message: str) -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "status": "FAILED_PRECONDITION"}})


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # Headers and body in one packet: two would wait 40 ms for each other.
    disable_nagle_algorithm = True
    server: Kaggle

    def log_message(self, *args: object) -> None:
        """Quiet."""

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
        if time.monotonic() < self.server.away_until:
            self.hang_up()
            return
        fault = fault or self.server.fault_at(method)
        if fault and fault.outage:
            self.server.away_until = time.monotonic() + fault.outage
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
        """The credentials of the request, as they are and in base64, alone and amid other words."""
        plain = self.headers.get("Authorization", "") or self.body["token"]
        secret = plain.rpartition(" ")[2]
        spelt = [base64.b64encode(f"{before}{secret}{before}".encode()).decode() for before in ("", "a", "ab")]
        return " ".join([plain, *spelt])

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

    # Competitions

    def allowed(self) -> int:
        return self.server.allowance - len(self.server.submissions)

    def GetSubmissionLimits(self, body: dict) -> Reply:
        made = len(self.server.submissions)
        return Reply(200, {"numToday": made, "numTotal": made, "numAllowedNow": max(0, self.allowed())})

    def StartSubmissionUpload(self, body: dict) -> Reply:
        return self.start(body["fileName"], body["contentLength"])

    def start(self, name: str, size: int) -> Reply:
        token = f"blob{len(self.server.blobs)}"
        self.server.blobs[token] = {"name": name, "size": size, "content": b""}
        return Reply(200, {"token": token, "createUrl": f"{self.server.url}/upload/{token}"})

    def CreateSubmission(self, body: dict) -> Reply:
        blob = self.server.blobs[body["blobFileTokens"]]
        assert len(blob["content"]) == blob["size"], "half an upload was submitted"
        return self.submitted(body, blob["name"], blob["content"])

    def CreateCodeSubmission(self, body: dict) -> Reply:
        version = self.version(f"{body['kernelOwner']}/{body['kernelSlug']}", body["kernelVersion"])
        return self.submitted(body, body["fileName"], version["output"][body["fileName"]])

    def submitted(self, body: dict, name: str, content: bytes) -> Reply:
        if self.allowed() <= 0:
            return error(400, "Submission not allowed: Your team has used its daily Submission allowance (5) today.")
        ref = 1000 + len(self.server.submissions)
        self.server.submissions.append(
            {
                "ref": ref,
                "date": "2026-11-23T12:00:00.000Z",
                "description": body["submissionDescription"],
                "fileName": name,
                "status": "PENDING",
                "content": content,
                "polls": 0,
                "at": time.monotonic(),
            }
        )
        return Reply(200, {"message": "Successfully submitted", "ref": ref})

    def ListSubmissions(self, body: dict) -> Reply:
        for one in self.server.submissions:
            one["polls"] += 1
            if one["status"] == "PENDING" and one["polls"] > self.server.polls_until_scored:
                public, private = map(str, self.server.score(one["content"]))
                one |= {"status": "COMPLETE", "publicScore": public, "privateScore": private}
        listed = self.server.visible(self.server.submissions)
        newest = [{k: v for k, v in one.items() if k not in ("content", "polls", "at")} for one in listed]
        newest.reverse()
        start = int(body.get("pageToken") or 0)
        page = {"submissions": newest[start : start + 2]}
        if start + 2 < len(newest):
            page["nextPageToken"] = str(start + 2)
        return Reply(200, page)

    def ListDataFiles(self, body: dict) -> Reply:
        names = sorted(self.server.files)
        start = int(body.get("pageToken") or 0)
        listed = [{"name": name, "totalBytes": len(self.server.files[name])} for name in names[start : start + 2]]
        page = {"files": listed}
        if start + 2 < len(names):
            page["nextPageToken"] = str(start + 2)
        return Reply(200, page)

    def DownloadDataFiles(self, body: dict) -> Reply:
        self.server.mirrors.setdefault("competition", zipped(self.server.files))
        return Reply(302, b"", {"Location": f"{self.server.url}/storage/competition"})

    def DownloadDataset(self, body: dict) -> Reply:
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if name not in self.server.mirrors:
            return error(404, "no such dataset")
        return Reply(302, b"", {"Location": f"{self.server.url}/storage/{name}"})

    # Datasets

    def StartBlobUpload(self, body: dict) -> Reply:
        return self.start(body["name"], body["contentLength"])

    def content(self, files: list[dict]) -> dict[str, bytes]:
        blobs = [self.server.blobs[one["token"]] for one in files]
        assert all(len(blob["content"]) == blob["size"] for blob in blobs), "half an upload stands in a dataset"
        return {blob["name"]: blob["content"] for blob in blobs}

    def add_version(self, name: str, files: list[dict]) -> None:
        self.server.datasets.setdefault(name, []).append(self.content(files))
        self.server.dataset_times.setdefault(name, []).append(time.monotonic())

    def listed_version(self, body: dict) -> dict[str, bytes] | None:
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        times = self.server.dataset_times.get(name, [])
        count = len(self.server.visible([{"at": at} for at in times]))
        return self.server.datasets[name][count - 1] if count else None

    def CreateDataset(self, body: dict) -> Reply:
        name = f"{body['ownerSlug']}/{body['slug']}"
        if name in self.server.datasets:
            return Reply(200, {"status": "error", "error": "The requested title is already in use by a dataset."})
        self.server.dataset_requests.append(body)
        self.add_version(name, body["files"])
        return Reply(200, {"ref": name, "status": "ok", "url": f"https://www.kaggle.com/datasets/{name}"})

    def CreateDatasetVersion(self, body: dict) -> Reply:
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        self.server.dataset_requests.append(body)
        self.add_version(name, body["body"]["files"])
        return Reply(200, {"ref": name, "status": "ok"})

    def GetDatasetStatus(self, body: dict) -> Reply:
        if self.listed_version(body) is None:
            return error(404, "no such dataset")
        return Reply(200, {"status": "READY"})

    def ListDatasetFiles(self, body: dict) -> Reply:
        files = self.listed_version(body)
        names = sorted(files)
        start = int(body.get("pageToken") or 0)
        page = {"datasetFiles": [{"name": name, "totalBytes": len(files[name])} for name in names[start : start + 3]]}
        if start + 3 < len(names):
            page["nextPageToken"] = str(start + 3)
        return Reply(200, page)

    # Kernels

    def SaveKernel(self, body: dict) -> Reply:
        versions = self.server.kernels.setdefault(body["slug"], [])
        versions.append(body | {"output": self.server.run_kernel(body), "polls": 0, "at": time.monotonic()})
        ref = f"/code/{body['slug']}"
        return Reply(200, {"ref": ref, "url": f"https://www.kaggle.com{ref}", "versionNumber": len(versions)})

    def version(self, name: str, label: object = None) -> dict:
        """The version of that number, or the newest."""
        versions = self.server.kernels.get(name, [])
        if label is not None and int(str(label)) > len(versions):
            raise error(404, "no such version")
        return versions[int(str(label)) - 1] if label is not None else versions[-1]

    def GetKernel(self, body: dict) -> Reply:
        name = f"{body['userName']}/{body['kernelSlug']}"
        versions = self.server.visible(self.server.kernels.get(name, []))
        if not versions:
            return error(404, "no such kernel")
        about = {"ref": name, "currentVersionNumber": len(versions)}
        return Reply(200, {"metadata": about, "blob": {"source": versions[-1]["text"]}})

    def GetKernelSessionStatus(self, body: dict) -> Reply:
        version = self.version(f"{body['userName']}/{body['kernelSlug']}", body.get("versionLabel"))
        version["polls"] += 1
        states = ("QUEUED", "RUNNING", version.get("end", "COMPLETE"))
        status = states[min(version["polls"], 3) - 1]
        return Reply(200, {"status": status, "failureMessage": version.get("failure", "")})

    def ListKernelSessionOutput(self, body: dict) -> Reply:
        name = f"{body['userName']}/{body['kernelSlug']}"
        label = body.get("versionLabel") or len(self.server.kernels.get(name, []))
        files = []
        for file_name, content in self.version(name, label)["output"].items():
            place = f"{name}/{label}/{file_name}"
            self.server.mirrors[place] = content
            files.append({"fileName": file_name, "url": f"{self.server.url}/storage/{place}"})
        log = [{"stream_name": "stdout", "time": 0.1, "data": f"line {n}\n"} for n in range(3)]
        return Reply(200, {"files": files, "log": json.dumps(log)})
