"""Training sessions on the fake Kaggle: real ones in a folder that stands for its machine, or simulated ones."""

import hashlib
import json
import math
import re
import shutil
from pathlib import Path

from kit import lineage, phantom, recipes
from kit.core import files
from kit.kaggle.client import connect
from kit.kernel import bundle, code, remote, session
from kit.workflows.folds import make_folds
from kit.workflows.workspace import Workspace

SLUG = "ada/kit-tiny-small-train"
RECIPE = """
about: One fold of a few epochs, whose weights are averaged.
folds: {holdout: 0.5}
network: {encoder: tu-test_resnet, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 3, batch_size: 4, keep: {swa: {last: 2}}}
"""
WEIGHTS = "fold0/stage1/weights.safetensors"
"""The file that a simulated session trains."""
BESIDE = {"other.txt": b"another version runs"}
SOURCE = Path(__file__).parents[2]
"""Folder to import the kernel's packages from: this checkout, with the packages of this environment."""


def write(folder: Path, recipe: str = RECIPE) -> Path:
    """Writes tiny/, small.yaml and folds/ into a folder."""
    phantom.write(folder / "tiny", train=10, test=3, size=64, seed=2)
    (folder / "small.yaml").write_text(recipe)
    make_folds(Workspace(folder), folder / "tiny", recipes.load(folder / "small.yaml"))
    return folder


def mount(root: Path, bundle: dict[str, bytes], images: Path | None, before: dict[str, bytes] | None) -> Path:
    """Fills a folder as /kaggle: the kernel's data set, a data set of images, the output of the version before."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "working").mkdir(parents=True)
    if images is not None:
        shutil.copytree(images, root / "input" / "datasets" / "ada" / "lungs")
    for place, content in (("files", bundle), ("before", before or {})):
        for name, data in content.items():
            path = root / "input" / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


def output(root: Path) -> dict[str, bytes]:
    """The output of a session, by path."""
    place = root / "working"
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def until_a_checkpoint(root: Path):
    """A clock by which time is up as soon as there is a checkpoint."""
    return lambda: math.inf if any(root.rglob("working/runs/*/*/fold*/stage*/last.ckpt")) else 0.0


def played(last: int):
    """`run_kernel` of the fake Kaggle: sessions that do nothing, the last of which is done."""

    def run(body: dict) -> dict[str, bytes]:
        number = int(re.search(r"^SESSION = (\d+)", body["text"], re.MULTILINE)[1])
        left = {WEIGHTS: f"weights of session {number}".encode()}
        return _output(number, "done" if number == last else "cut", left)

    return run


def chain(last: int) -> bytes:
    """The weights after that many sessions, each of which appends to those of the one before."""
    return "".join(f"session {number}\n" for number in range(1, last + 1)).encode()


def chained(kaggle, last: int):
    """`run_kernel` for the verb: sessions that append to the weights of the one before, if these are attached.

    One that begins while another one runs leaves `BESIDE`.
    """

    def run(body: dict) -> dict[str, bytes]:
        versions, bundle = kaggle.kernels[SLUG], kaggle.datasets[f"{SLUG}-files"][-1]
        if any(one["polls"] < 3 for one in versions):
            return BESIDE
        number = int(re.search(r"^SESSION = (\d+)", body["text"], re.MULTILINE)[1])
        before = versions[-1]["output"] if body.get("kernelDataSources") else {}
        carried = json.loads(bundle["manifest.json"])["carried"]
        folds = hashlib.sha256(bundle[carried["folds/tiny.csv"]]).hexdigest()
        trained_on = lineage.Inputs(images="", folds=folds, fold_file="tiny.csv")
        left = {
            WEIGHTS: before.get(f"runs/tiny/small/{WEIGHTS}", b"") + f"session {number}\n".encode(),
            "recipe.yaml": bundle["recipe.yaml"],
            "inputs.json": trained_on.model_dump_json().encode(),
        }
        return _output(number, "done" if number == last else "cut", left)

    return run


def _output(number: int, state: str, left: dict[str, bytes]) -> dict[str, bytes]:
    """The output of a version with the files `left` in its run."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in left.items()}
    about = session.Session(run="tiny/small", number=number, state=state, files=hashes)
    kept = {f"runs/tiny/small/{name}": data for name, data in left.items()}
    return kept | {session.NAME: json.dumps(about.model_dump()).encode()}


def made(number: int, content: str = "recipe") -> bundle.Kernel:
    """A kernel of a few bytes in the working folder, for the session of that number."""
    kernel = bundle.Kernel("kit-tiny-small-train")
    shutil.rmtree(kernel.bundle, ignore_errors=True)
    files.write_text(kernel.bundle / f"kit-0.1.0-0{content}-py3-none-any.whl", "wheel")
    listed = {path.name: files.sha256(path) for path in kernel.bundle.iterdir()}
    about = {"data": "tiny", "recipe": "small", "fold_file": "tiny.csv", "tests": 3, "carried": {}}
    manifest = session.Plan(kernel=kernel.slug, run="tiny/small", files=listed, **about)
    files.write_json(kernel.manifest, manifest.model_dump(mode="json"))
    text = code.script("train", kernel.dataset, files.sha256(kernel.manifest), 60.0)
    text = text.replace("SESSION = 1", f"SESSION = {number}")
    bundle.write_code(kernel, text, "ada", [], ["ada/lungs"], gpu=True, notebook=False, resumes=number > 1)
    return kernel


def train(say=print, patient: bool = True) -> Path | None:
    """Trains the made kernel on the fake Kaggle and fetches the run; None if a session is still running."""
    client, kernel, target = connect(timeout=5.0), bundle.Kernel("kit-tiny-small-train"), Path("runs/tiny/small")
    ended = remote.train(client, "ada", kernel, made, say, patient=patient)
    if ended is None:
        return None
    if not target.exists():
        remote.fetch(client, "ada", kernel, ended, target, lambda run: None)
    return target


def main() -> None:
    """Runs `train --on kaggle` in a working folder that `write` has filled, with no other package in the kernel."""
    from kit.kaggle import acting, dataset
    from kit.kaggle.settings import Settings
    from kit.kernel import kaggle_image, push
    from kit.workflows import train_on_kaggle

    push.POLL = dataset.POLL = acting.PAUSE = 0.01
    acting.CATCH_UP = 0.1
    kaggle_image.BROUGHT_TO_TRAIN = ()
    order = train_on_kaggle.Order("tiny", recipes.load("small.yaml"), Settings(), ["ada/lungs"])
    train_on_kaggle.train_there(Workspace(), [order], print, patient=True)
