"""The page "No GPU of your own", played by its commands on a Kaggle of our own; its notebook, on a Colab of our own."""

import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import faulty_disk
import pytest
import started
import trained_there
from kaggle_server import Fault, zipped
from make_calls import BLOCK, blocks, called, kit_calls, ready_folder
from tiny_run import artefacts

from kit import cli, phantom
from kit.kaggle import acting, dataset
from kit.kernel import code, push, session
from kit.kernel.sandbox import REHEARSAL
from kit.workflows import train_on_kaggle

IMPORTED = train_on_kaggle
"""For the processes that are forked from this one."""
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/no-gpu.md"
TINY = (
    "stages.0.size=32 stages.0.epochs=3 stages.0.batch_size=4 stages.0.keep.swa.last=2 "
    "stages.1.size=64 stages.1.epochs=2 stages.1.batch_size=4 stages.1.keep.swa.last=1 "
    "network.encoder=tu-test_resnet network.encoder_weights=null network.decoder_channels=[8,8,8,8,8]"
)
"""The recipe of the page, both of its stages, as small as it can be."""
SLUG, RUN = "ada/kit-siim-exp5-train", "siim/exp5"
KILLS = {
    "download": [("GET", "")],
    "folds": [],
    "train": [
        ("SaveKernel", ""),
        ("GetKernelSessionStatus", ""),
        ("SaveKernel", ""),
        ("GET", "weights.safetensors"),
    ],
}
"""After which requests each command is killed: method, and what the request is about."""


def commands(title: str, place: Path) -> list[list[str]]:
    """The kit's arguments of each command of a section of the page, for the tiny recipe."""
    text = next(part for part in PAGE.read_text().split("\n## ") if part.startswith(title))
    found = [match["content"] for match in BLOCK.finditer(text) if match["kind"] == "bash"]
    lines = [arguments for script in found for call in called(script, place) for arguments in kit_calls(call, place)]
    return [line + (["--set", TINY] if "--recipe" in line else []) for line in lines]


def give(arguments: list[str], site=None, kill: tuple[str, str] | None = None, dies: bool = False) -> tuple[int, str]:
    """Gives a command, and kills it after a request or at its first file in place; how it ended, and what it said.

    It is forked from this process, whose pauses are short.
    """
    said, pids = Path(f"said-{time.monotonic_ns()}").absolute(), []

    def fault_at(method: str) -> Fault | None:
        if kill and pids and method == kill[0] and kill[1] in json.dumps(site.log[-1][1]):
            return Fault(method, "hook", acted=True, hook=lambda: os.kill(pids.pop(), signal.SIGKILL))
        return None

    if site:
        site.fault_at = fault_at
    if (pid := os.fork()) == 0:
        ended = 1
        try:
            sys.stdout = sys.stderr = said.open("w")
            if dies:
                os.replace = os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05)  # until the other process knows its number
            sys.argv = ["kit", *arguments]
            cli.main()
        except SystemExit as end:
            ended = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(ended)
    pids.append(pid)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.read_text() if said.exists() else ""


def go_on(arguments: list[str], site=None) -> str:
    """Gives a command until it ends well, as a person does who is told to; what it said."""
    for _ in range(3):
        ended, said = give(arguments, site)
        if ended == 0:
            return said
        assert "is not known" in said, said
    raise AssertionError


def train_here(arguments: list[str]) -> str:
    """Gives a command that computes, in the working folder; what it said."""
    ended = faulty_disk.run(Path.cwd(), arguments)
    assert ended.code == 0, ended.said
    return ended.said


@pytest.fixture
def kernel(monkeypatch):
    """Runs a kernel's code on a folder in place of /kaggle, in this process but for the verbs that it starts."""

    faulty_disk.server()  # before a kernel's packages are on the path
    monkeypatch.setattr(session, "subprocess", started.starting())
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    variables = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", REHEARSAL: "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)

    def run(text: str, root: Path, clock) -> str:
        monkeypatch.setenv("KAGGLE_ROOT", str(root))
        monkeypatch.setattr(session, "clock", clock)
        before = sys.path[:]
        exec(text, {"__name__": "__main__"})
        sys.path[:] = before  # without the kernel's packages
        return session.read(root / "working" / session.NAME).state

    return run


def test_the_page_trains_there_what_is_trained_here(kaggle, impatient, kernel, tmp_path, monkeypatch):
    """Both stages of `exp5` in two sessions; each command is killed, at every request that matters, and given again."""
    for module, name in ((push, "POLL"), (dataset, "POLL"), (session, "POLL"), (acting, "PAUSE")):
        monkeypatch.setattr(module, name, 0.01)
    place, images = tmp_path / "docs", tmp_path / "mirror"
    ready_folder(place / "made")
    phantom.write(images, train=16, test=3, size=64, seed=2)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("kaggle.yaml").write_text("user: ada\ntimeout: 600\n")
    script, *_ = blocks(PAGE, "bash")
    source = re.search(r"--dataset (\S+)", script)[1]
    paths = [path for path in images.rglob("*") if path.is_file()]
    kaggle.mirrors[source] = zipped({str(path.relative_to(images)): path.read_bytes() for path in paths})
    states = []

    def play(body: dict) -> dict[str, bytes]:
        if "-test-" in body["slug"]:
            files = kaggle.datasets[f"{body['slug']}-files"][-1]
            root = trained_there.mount(tmp_path / "kaggle", files, images, None)
            assert kernel(body["text"], root, lambda: 0.0) == "done"
            return trained_there.output(root)
        versions = kaggle.kernels[SLUG]
        assert all(one["polls"] >= 3 for one in versions), "another version runs"
        before = versions[-1]["output"] if body.get("kernelDataSources") else None
        root = trained_there.mount(tmp_path / "kaggle", kaggle.datasets[f"{SLUG}-files"][-1], images, before)
        states.append(
            kernel(body["text"], root, trained_there.until_a_checkpoint(root) if not versions else lambda: 0.0)
        )
        return trained_there.output(root)

    kaggle.run_kernel = play
    download, folds, there, without_waiting, _, predict_only, *_ = commands("Kaggle, from the command line", place)
    kaggle.mirrors["your-name/siim"] = kaggle.mirrors[source]
    assert [step[0] for step in (download, folds, there)] == ["download", "folds", "train"]
    assert "--no-wait" in without_waiting
    for step in (download, folds, there):
        assert give(step, kaggle, dies=True)[0] == -signal.SIGKILL
        for kill in KILLS[step[0]]:
            ended, said = give(step, kaggle, kill)
            assert ended == -signal.SIGKILL, (kill, said)
        said = go_on(step, kaggle)
    assert states == ["cut", "done"]
    assert f"runs/{RUN}: trained on Kaggle, nothing left to do" in said
    assert "nothing left to do" in go_on(without_waiting, kaggle)
    here = [folds, ["train", *folds[1:]], ["predict", *folds[1:]]]
    assert all("nothing to do" in train_here(command) for command in here[1:])
    fetched = artefacts(Path("runs"))
    del fetched[f"{RUN}/kaggle.json"]

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for command in here:
        train_here(command)
    assert fetched == artefacts(Path("runs"))
    ended, said = give(there, kaggle)
    assert (ended, "was begun here: continue here, remove it, or name a new run" in said) == (2, True)
    assert "--predict-only" in predict_only
    said = go_on(predict_only, kaggle)
    assert f"runs/{RUN}: predicted on Kaggle, nothing left to do" in said
    assert "left this week; the test images are predicted" in said
    assert "session" not in said
    assert fetched == artefacts(Path("runs"))

    # The notebook, on a machine of Colab's that is taken away once.
    [build] = commands("Kaggle, by hand", place)
    go_on(build)
    colab, drive = tmp_path / "content", tmp_path / "content/drive/MyDrive/kit"
    shutil.copytree(f"build/kernel/{SLUG.partition('/')[2]}", drive / "input/files")
    (drive / "input/siim").mkdir()
    (drive / "input/siim/siim.zip").write_bytes(kaggle.mirrors[source])
    mounted = []
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(drive=SimpleNamespace(mount=mounted.append)))
    notebook = code.as_script((ROOT / "docs/notebooks/kaggle-train.ipynb").read_text())
    for clock, state in ((trained_there.until_a_checkpoint(drive), "cut"), (lambda: 0.0, "done")):
        assert kernel(notebook.replace("/content", str(colab)), colab / "kaggle", clock) == state
    assert mounted == [str(colab / "drive")] * 2
    assert fetched == artefacts(drive / "working/runs")


def test_the_hours_are_those_that_the_code_beside_them_counts(capsys):
    [block] = blocks(PAGE, "python")
    exec(block, {})
    name, *counted = capsys.readouterr().out.split()
    row = re.search(rf"^\| `{name}` (\|.*)$", PAGE.read_text(), re.MULTILINE)[1]
    low, high, _, least, most = re.findall(r"[\d.]+", row)
    assert [low, high, least, most] == counted
