"""A kernel as a notebook."""

import json
import logging
import time
from pathlib import Path

import nbclient
import nbformat
import pytest
import small_run
from playing import play

from kit.competition import submission
from kit.core import files
from kit.kernel import bundle, code, offline, rehearsal
from kit.kernel.rehearsal import LAYOUTS


def notebook_of(here):
    return bundle.build(
        small_run.Run(Path("runs/tiny/small")),
        user="ada",
        competition="siim",
        notebook=True,
    )


def test_a_notebook_is_valid_and_is_the_script(here, kernel):
    script = kernel.script.read_text()
    built = notebook_of(here)
    assert not built.script.exists()
    assert files.read_json(built.metadata)["kernel_type"] == "notebook"
    content = nbformat.reads(built.code.read_text(), as_version=4)
    nbformat.validate(content)
    cells = "\n".join(code.as_script(built.code.read_text()).split())
    for line in script.partition('"""\n')[2].split("# %%")[0].split():
        assert line in cells
    assert rehearsal.check_metadata(built)


@pytest.fixture
def expected(here, images):
    """A notebook's kernel with its inputs laid out, and the submission that is expected of it."""
    built = notebook_of(here)
    rehearsal.lay_out(here / "kaggle/input", built, "siim", list(images), images, LAYOUTS[0])
    submission.write(here / "expected.csv", [(name, "-1") for name in images])
    offline.run(built.bundle, here / "kaggle/input/siim", here / "expected.csv", time.monotonic() + 1000)
    return built, here / "expected.csv"


def test_a_notebook_writes_the_same_bytes_and_shows_pictures(here, expected, monkeypatch):
    """Executed as Kaggle does, cell by cell in Jupyter."""
    built, path = expected
    (here / "kaggle/working").mkdir()
    content = nbformat.reads(built.code.read_text(), as_version=4)
    monkeypatch.setenv("KAGGLE_ROOT", str(here / "kaggle"))
    done = nbclient.NotebookClient(content, timeout=300).execute()
    assert (here / "kaggle/working/submission.csv").read_bytes() == path.read_bytes()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_pictures_that_fail_leave_the_submission_as_it_is():
    cells = code.notebook('"""A script."""\nSUBMISSION = None\n', "title")
    last = "".join(json.loads(cells)["cells"][-1]["source"])
    shown = []
    names = {"BUNDLE": Path(), "RERUN": False, "SUBMISSION": Path("none.csv"), "logging": logging, "json": json}
    names["mounts"] = lambda *names: shown.append(names) or [Path("none")]
    exec(last, names)
    exec(last, names | {"RERUN": True, "draw": None})
    assert shown == []


def test_a_notebook_passes_the_rehearsal(isolated, expected, images, tmp_path):
    built, path = expected
    assert play(built, images, tmp_path / "sandbox")[0] == submission.read(path)
