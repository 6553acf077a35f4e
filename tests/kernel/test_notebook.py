"""Kernels that are notebooks."""

import json
import logging
import shutil
import time
from pathlib import Path

import nbclient
import nbformat
import pytest
import small_run
from playing import play

from kit.competition import layout, submission
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


def test_a_notebook_is_valid_and_has_the_code_of_the_script(here, kernel):
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


@pytest.fixture(scope="module")
def expected(built, tmp_path_factory):
    """A folder with the inputs of a notebook kernel, the kernel, and its expected submission."""
    here = shutil.copytree(built, tmp_path_factory.mktemp("expected") / "here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        return _expected(here, layout.open_folder("data/tiny").test)


def _expected(here, images):
    built = notebook_of(here)
    rehearsal.lay_out(here / "kaggle/input", built, "siim", list(images), images, LAYOUTS[0])
    submission.write(here / "expected.csv", [(name, "-1") for name in images])
    offline.run(built.bundle, here / "kaggle/input/siim", here / "expected.csv", time.monotonic() + 1000)
    return here, built, here / "expected.csv"


def test_a_notebook_writes_the_same_bytes_and_shows_pictures(expected, monkeypatch):
    """Jupyter executes it cell by cell, as Kaggle does."""
    here, built, path = expected
    monkeypatch.chdir(here)
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


@pytest.mark.parametrize("kind", ["predict", "train"])
def test_without_inputs_one_cell_says_what_to_do_and_the_last_cell_says_nothing(kind, tmp_path, monkeypatch):
    """Each cell is run even if the one before has failed, as by hand."""
    script = code.script(kind, "kit-x-files", "", 60.0, **{"slug-of-the-competition": "siim"})
    cells = [cell for cell in json.loads(code.notebook(script, "title"))["cells"] if cell["cell_type"] == "code"]
    for name in ("input", "working"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("KAGGLE_ROOT", str(tmp_path))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    names, said = {"__name__": "__main__"}, []
    for cell in cells:
        try:
            exec("".join(cell["source"]), names)
        except Exception as error:
            said.append(str(error))
    told = "the data set kit-x-files is not attached: click Add Input, look for its name among your data sets, add it"
    assert len(said) == 1
    assert said[0].startswith(told)
    assert said[0].endswith("attached is nothing")


def test_a_notebook_passes_the_rehearsal(isolated, expected, images, tmp_path, monkeypatch):
    here, built, path = expected
    monkeypatch.chdir(here)
    assert play(built, images, tmp_path / "sandbox")[0] == submission.read(path)
