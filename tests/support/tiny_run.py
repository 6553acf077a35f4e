"""The smallest data set and recipe, run from folds to a score on a disk that may fail."""

import hashlib
import json
from pathlib import Path

import pandas as pd
from faulty_disk import run

from kit import phantom

RECIPE = """
about: The smallest.
folds: {count: 2}
network: {encoder: tu-mobilenetv3_small_050, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 2, batch_size: 2, swa_epochs: 2}
"""
VERBS = ("folds", "train", "submit")


def command(verb: str) -> list[str]:
    return [verb, "--data", "tiny", "--recipe", "small.yaml"]


def pristine(folder: Path) -> Path:
    """The data and the recipe."""
    folder.mkdir(parents=True)
    phantom.write(folder / "tiny", train=10, test=3, size=64, seed=2)
    (folder / "small.yaml").write_text(RECIPE)
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
            lines = [json.loads(line) for line in path.read_text().splitlines()]
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
