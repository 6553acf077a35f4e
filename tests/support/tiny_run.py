"""The smallest data set and recipe, run from folds to a score on a disk that may fail."""

import hashlib
import io
import json
import re
from pathlib import Path

import pandas as pd
import torch
from faulty_disk import run

from kit import phantom

RECIPE = """
about: The smallest.
folds: {count: 2}
network: {encoder: tu-mobilenetv3_small_050, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 2, batch_size: 2, keep: {swa: {last: 2}}}
"""
SHORT = """
about: One network of one epoch.
folds: {holdout: 0.5}
network: {encoder: tu-test_resnet, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 1, batch_size: 4}
"""
VERBS = ("folds", "train", "submit")
DATA = "tiny"


def command(verb: str) -> list[str]:
    return [verb, "--data", DATA, "--recipe", "small.yaml"]


def pristine(folder: Path, recipe: str = RECIPE) -> Path:
    """The data and the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    phantom.write(folder / DATA, train=10, test=3, size=64, seed=2)
    (folder / "small.yaml").write_text(recipe)
    return folder


def artefacts(folder: Path) -> dict[str, str]:
    """What each finished file holds, but for times: hashes by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or any(part.startswith(".") for part in path.parts) or "tensorboard" in name:
            continue
        if path.name == "metrics.csv":
            content = pd.read_csv(path).drop(columns="seconds").to_csv().encode()
        elif path.name == "ledger.jsonl":
            # What a killed writer left of a line is removed by the next.
            lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
            content = repr(sorted({(line["event"], line["sha256"], line.get("public")) for line in lines})).encode()
        elif name == "folds/tiny.origin.json":
            # Where the data lie is another folder in each test.
            content = repr({k: v for k, v in json.loads(path.read_text()).items() if k != "data"}).encode()
        elif path.suffix in (".txt", ".ckpt") and path.name in ("log.txt", "last.ckpt"):
            continue
        else:
            content = path.read_bytes()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def undisturbed(folder: Path) -> dict[str, dict[str, str]]:
    """The artefacts after each verb."""
    after = {}
    for verb in VERBS:
        ended = run(folder, command(verb))
        assert ended.code == 0, ended.said
        after[verb] = artefacts(folder)
    return after


def state(folder: Path) -> str:
    """A hash of all that the next command may go by: what artefacts hold, hidden arrays, and names of what was left.

    Two states of one hash differ in times, logs, and the content of temporary files alone.
    """
    found = artefacts(folder)
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name.endswith(".part"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif ".tmp" in name or path.is_dir():
            found[name] = ""
        elif path.name == "last.ckpt":
            found[name] = hashlib.sha256(_timeless(path.read_bytes())).hexdigest()
        elif path.name == "ledger.jsonl":
            found[name] = re.sub(r'"time": "[^"]*"', "", path.read_text())
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def _timeless(checkpoint: bytes) -> bytes:
    """A checkpoint without the seconds of its epochs; a broken one as it is."""
    try:
        content = torch.load(io.BytesIO(checkpoint), "cpu", weights_only=True)
    except Exception:
        return checkpoint
    for epoch in content["history"]:
        epoch["seconds"] = 0.0
    again = io.BytesIO()
    torch.save(content, again)
    return again.getvalue()
