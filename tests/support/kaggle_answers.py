"""The fake Kaggle's answers to each call, from its state: competitions, data sets, kernels."""

import io
import json
import time
import zipfile

USER, TOKEN = "ada", "KGAT_secret-of-ada"


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


class Answers:
    """A mixin with one method per call; the handler provides the server's state and the request."""

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
                "description": body["submissionDescription"][: self.server.longest_description],
                "fileName": name,
                "status": "PENDING",
                "content": content,
                "polls": 0,
                "at": time.monotonic() + self.server.lag,
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
        listed = [
            {"name": name, "totalBytes": len(self.server.files[name]), "creationDate": self.server.date}
            for name in names[start : start + 2]
        ]
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
        self.server.dataset_times.setdefault(name, []).append(time.monotonic() + self.server.lag)

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
        if files is None:  # somebody else's, of which the archive alone is kept
            files = self.archived(f"{body['ownerSlug']}/{body['datasetSlug']}")
        names = sorted(files)
        start = int(body.get("pageToken") or 0)
        listed = [
            {"name": name, "totalBytes": len(files[name]), "creationDate": self.server.date}
            for name in names[start : start + 3]
        ]
        page = {"datasetFiles": listed}
        if start + 3 < len(names):
            page["nextPageToken"] = str(start + 3)
        return Reply(200, page)

    def archived(self, name: str) -> dict[str, bytes]:
        if name not in self.server.mirrors:
            raise error(404, "no such dataset")
        try:
            with zipfile.ZipFile(io.BytesIO(self.server.mirrors[name])) as archive:
                return {member: archive.read(member) for member in archive.namelist()}
        except Exception:  # a broken one
            return {"a.dcm": b""}

    # Kernels

    def SaveKernel(self, body: dict) -> Reply:
        versions = self.server.kernels.setdefault(body["slug"], [])
        versions.append(
            body | {"output": self.server.run_kernel(body), "polls": 0, "at": time.monotonic() + self.server.lag}
        )
        ref = f"/code/{body['slug']}"
        return Reply(200, {"ref": ref, "url": f"https://www.kaggle.com{ref}", "versionNumber": len(versions)})

    def version(self, name: str, label: object = None) -> dict:
        """Returns the version with that number; without a number, the newest."""
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
        version["polls"] = version.get("polls", 9) + 1
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
        return Reply(200, {"files": files, "log": json.dumps(self.printed())})

    def printed(self) -> list[dict]:
        return [{"stream_name": "stdout", "time": 0.1, "data": f"{line}\n"} for line in self.server.printed]

    def GetKernelSessionLogsStream(self, body: dict) -> Reply:
        events = "".join(f"data: {json.dumps(part)}\n\n" for part in self.printed())
        return Reply(200, f"{events}data: END_OF_LOG\n\n".encode(), {"Content-Type": "text/event-stream"})

    def GetAcceleratorQuotaStatistics(self, body: dict) -> Reply:
        if self.server.quota is None:
            return error(404, "no quota")
        used, whole = (f"{3600 * hours}s" for hours in self.server.quota)
        gpu = {"timeUsed": used, "totalTimeAllowed": whole}
        return Reply(200, {"gpuQuota": gpu, "quotaRefreshTime": "2026-12-05T00:00:00Z"})
