"""Every JSON, JSONL and YAML file that a verb reads, broken in every way: refused in one line that names it.

Which verb reads which file is what it opens in an undisturbed call. The suite takes a few of the faults before verbs
that are quick; as a script this takes each STEP-th of all, before all verbs, and prints what was accepted and wrong:

    PYTHONPATH=.:tests/support python tests/faults/test_documents.py STEP
"""

import io
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import islice
from pathlib import Path

import pytest
from broken_documents import faults

from kit import cli, phantom

ENDINGS = (".json", ".jsonl", ".yaml")
PLAIN = """
about: The smallest.
folds: {count: 2}
network: {encoder: tu-test_resnet, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 1, batch_size: 4}
"""
GATED = """
members:
  a: {}
  first: {role: classify, network: {image_head: true}, loss: {image: 1}}
  second: {role: classify, network: {image_head: true}, loss: {image: 1}}
"""
LIMIT = 120
"""Seconds after which a verb is said to hang."""


def of(verb: str, recipe: str = "plain") -> list[str]:
    """A verb on the run of a recipe."""
    return [*verb.split(), "--data", "tiny", "--recipe", f"{recipe}.yaml"]


QUICK = {
    **{verb: of(verb) for verb in ("folds", "train", "submit", "predict", "kernel build")},
    "kernel push": of("kernel push --dry-run"),
    "scores": ["scores"],
    "recipes": ["recipes", "runs/tiny/plain/recipe.yaml"],
}
SLOW = {
    **{f"{verb}, gated": of(verb, "gated") for verb in ("folds", "train", "submit", "predict", "kernel build")},
    **{verb: of(verb) for verb in ("thresholds", "report", "export", "predict --trained-on tiny")},
    "kernel push, gated": of("kernel push --dry-run", "gated"),
    "compare": ["compare", "plain", "gated", "--data", "tiny"],
    "view": of("view IMAGE"),
    "stats": ["stats", "--data", "tiny"],
    "check": ["check", "tiny"],
    "validate": ["validate", "runs/tiny/plain/submission.csv", "--data", "tiny"],
}


def call(arguments: list[str]) -> tuple[int, str]:
    """Runs a verb in this process: exit code, and what it said on stderr."""
    said, log = io.StringIO(), logging.getLogger("kit")
    before = log.handlers[:], logging.getLogger().handlers[:]
    sys.argv = ["kit", *arguments]
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(LIMIT)
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            cli.main()
    except SystemExit as end:
        return end.code or 0, said.getvalue()
    finally:
        signal.alarm(0)
        log.handlers[:], logging.getLogger().handlers[:] = before
    raise AssertionError("it did not exit")


def _hangs(*_: object) -> None:
    raise AssertionError("it hangs")


OPENED: list[str] | None = None
"""What is opened for reading goes here."""


def _watch(event: str, arguments: tuple) -> None:
    if OPENED is not None and event == "open" and isinstance(arguments[0], str | os.PathLike):
        path, mode, flags = arguments
        if str(path).endswith(ENDINGS) and (mode or "r")[0] == "r" and not (flags or 0) & os.O_WRONLY:
            OPENED.append(os.path.relpath(path))


sys.addaudithook(_watch)


@contextmanager
def opened() -> Iterator[list[str]]:
    """The documents that the block reads, by their paths from the working folder."""
    global OPENED
    OPENED = []
    try:
        yield OPENED
    finally:
        OPENED = None


def make(folder: Path, verbs: dict[str, list[str]]) -> dict[str, list[str]]:
    """Trains and submits in a folder, which becomes the working folder; gives which verbs read each document."""
    phantom.write(folder / "tiny", train=20, test=3, size=64, seed=2)
    (folder / "plain.yaml").write_text(PLAIN)
    (folder / "gated.yaml").write_text(PLAIN + GATED)
    (folder / "kaggle.yaml").write_text("competition: siim\nuser: ada\ntimeout: 5\n")
    image = next((folder / "tiny").rglob("*.dcm")).stem
    os.chdir(folder)
    readers = defaultdict(list)
    for undisturbed in (False, True):  # what is made is read by the next call
        for verb, arguments in verbs.items():
            with opened() as read:
                code, said = call([image if word == "IMAGE" else word for word in arguments])
            assert code == 0, f"{verb}: {said}"
            for path in sorted(set(read)) if undisturbed else ():
                if not path.startswith("..") and Path(path).is_file():
                    readers[path].append(verb)
    return dict(readers)


class Sweep:
    """Faults in the place of a file, each before every verb that reads it."""

    def __init__(self, folder: Path, verbs: dict[str, list[str]]):
        self.folder, self.verbs = folder, verbs
        self.readers = make(folder, verbs)
        self.saved = folder.with_name("saved")
        shutil.copytree(folder, self.saved, ignore=lambda place, _: ["tiny"] if place == str(folder) else [])
        self.counts: Counter[str] = Counter()

    def faults(self, path: str) -> Iterator[tuple[str, bytes | None]]:
        """What is wrong with a file, and its content; None: there is no file."""
        yield "missing", None
        yield "a folder", None
        yield from faults(path, (self.saved / path).read_bytes())

    def refused(self, path: str, what: str, content: bytes | None, verb: str) -> bool:
        """Whether a verb refuses a broken file, in one line that names it; else it did without, or took it."""
        file = self.folder / path
        file.unlink()
        if what == "a folder":
            file.mkdir()
        elif content is not None:
            file.write_bytes(content)
        try:
            code, said = call(self.verbs[verb])
            errors = [line for line in said.splitlines() if line.startswith("kit: ")]
            assert code in (0, 2), f"{code}: {said}"
            assert len(errors) == (code == 2), said
            assert "Traceback" not in said, said
            # What is well formed and other is said of the folder: `was trained with other settings (…)`.
            named = not errors or file.name in errors[0] or str(Path(path).parent) in errors[0]
            assert named, f"it is not named: {errors}"
            assert not errors or len(errors[0]) < 1000, f"{len(errors[0])} characters: {errors[0][:300]}"
        finally:
            if file.is_dir():
                file.rmdir()
            self.restore(path)
        return code == 2

    def restore(self, path: str) -> None:
        """Makes everything what it was."""
        for old in self.saved.rglob("*"):
            new = self.folder / old.relative_to(self.saved)
            if old.is_file() and not self._same(old, new):
                shutil.copy2(old, new)
        for new in self.folder.rglob("*"):
            old = self.saved / new.relative_to(self.folder)
            if new.is_file() and new.relative_to(self.folder).parts[0] != "tiny" and not old.exists():
                new.unlink()
        shutil.copy2(self.saved / path, self.folder / path)

    @staticmethod
    def _same(old: Path, new: Path) -> bool:
        if not new.is_file():
            new.parent.mkdir(parents=True, exist_ok=True)
            return False
        one, other = old.stat(), new.stat()
        return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)

    def run(self, step: int) -> Iterator[str]:
        """Takes every `step`-th fault, of every file before each of its readers; tells what was not refused.

        The counts are of those that were `refused`, that were `accepted`, and that went `wrong`.
        """
        every = (
            (path, *fault, verb)
            for path, verbs in self.readers.items()
            for fault in self.faults(path)
            for verb in verbs
        )
        for path, what, content, verb in islice(every, 0, None, step):
            try:
                refused = self.refused(path, what, content, verb)
                self.counts["refused" if refused else "accepted"] += 1
                if not refused:
                    yield f"accepted: {path}: {what}: {verb}"
            except Exception as error:
                self.counts["wrong"] += 1
                yield f"wrong: {path}: {what}: {verb}: {error!r}"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    here = Path.cwd()
    (folder := tmp_path_factory.mktemp("documents") / "work").mkdir()
    yield Sweep(folder, QUICK)
    os.chdir(here)


def test_a_broken_document_is_refused_in_one_line_that_names_it(sweep):
    told = list(sweep.run(61))
    assert not [line for line in told if line.startswith("wrong")]
    assert sweep.counts["refused"] > sweep.counts["accepted"]


def main(step: int) -> None:
    """Takes each `step`-th fault of every file before every verb."""
    with tempfile.TemporaryDirectory() as place:
        (folder := Path(place, "work")).mkdir()
        sweep = Sweep(folder, QUICK | SLOW)
        for path, verbs in sweep.readers.items():
            print(f"{path}: {', '.join(verbs)}", flush=True)
        for line in sweep.run(step):
            print(line, flush=True)
        print(dict(sweep.counts))
        os.chdir("/")


if __name__ == "__main__":
    main(int(sys.argv[1]))
