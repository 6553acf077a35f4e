"""The first part of every kernel: finds and verifies its inputs in any of Kaggle's layouts, and tests the GPUs.

`kit.kernel.code` joins this file and script_predict.py or script_train.py into one script.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

# identity: not pushed
BEGIN = time.monotonic()
DATASET = "slug-of-the-dataset"
MANIFEST = "sha256-of-the-manifest"
TIME_LIMIT = 0.0  # seconds
ROOT = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))  # the variable is for rehearsals and Colab


# %% Where the inputs are
# Below `/kaggle/input`, in one of two folder schemes, unpacked or as the uploaded archive.


def mounts(name: str, kind: str) -> list[Path]:
    """Returns the folders where Kaggle may have mounted an input: those with its name, or else the folder of all."""
    places = [ROOT / "input" / name, *sorted((ROOT / "input" / kind).glob(f"**/{name}"))]
    return [path for path in places if path.is_dir()] or [ROOT / "input"]


def archives(folder: Path) -> Iterator[zipfile.ZipFile]:
    """Yields the intact archives below a folder."""
    for path in sorted(folder.rglob("*.zip")):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            yield archive


def sha256(path: Path) -> str:
    """Returns a file's SHA-256 in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# %% The files of the build, each with the hash that it was built with
# `manifest.json` has the SHA-256 of each file, so that no file of another build gets in.


def find_bundle() -> Path:
    """Finds the folder of the data set of this build; of any build if this script is not for one alone."""
    places = mounts(DATASET, "datasets")
    for archive in itertools.chain.from_iterable(map(archives, tuple(places))):
        if "manifest.json" in archive.namelist():
            places.append(Path(tempfile.mkdtemp(prefix="bundle-")))
            archive.extractall(places[-1])
    for manifest in (path for place in places for path in sorted(place.rglob("manifest.json"))):
        if sha256(manifest) == MANIFEST or (not MANIFEST and '"kernel": ' in manifest.read_text("utf-8", "replace")):
            return manifest.parent
    listed = ", ".join(sorted(path.relative_to(ROOT / "input").as_posix() for path in (ROOT / "input").glob("*/*")))
    build = f", with the manifest.json of this build ({MANIFEST[:12]}…)" if MANIFEST else ""
    raise RuntimeError(
        f"the data set {DATASET}{build} is not attached: click Add Input, look for its name among your data sets, add "
        f"it and run this again (on Colab put its files below MyDrive/kit/input/); attached is {listed or 'nothing'}"
    )


def verify(bundle: Path) -> None:
    """Stops if a file is missing or has changed since the build."""
    for name, expected in json.loads((bundle / "manifest.json").read_text("utf-8"))["files"].items():
        if not (bundle / name).is_file():
            raise RuntimeError(f"{bundle / name}: is missing: upload the dataset again")
        if sha256(bundle / name) != expected:
            raise RuntimeError(f"{bundle / name}: is not the file of the build: upload the dataset again")


# %% A GPU, if it works
# A GPU may be present and still unusable: the image's libraries do not support it, or its driver hangs.

DEVICES = Path("/dev")
PROBE = """
import torch
assert torch.cuda.is_available(), "torch finds none"
for number in range(torch.cuda.device_count()):
    x = torch.ones(64, 64, device=f"cuda:{number}")
    assert (x @ x).sum().item() == 64**3
print(torch.cuda.device_count())
"""
PATIENCE = 120  # seconds


def choose_device() -> int:
    """Returns the number of working GPUs; hides all GPUs if one of them does not work."""
    if not any(DEVICES.glob("nvidia*")) and shutil.which("nvidia-smi") is None:
        logging.info("no GPU: the machine has none")
        return 0
    probe = [sys.executable, "-c", PROBE]
    try:
        return int(subprocess.run(probe, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout)
    except subprocess.SubprocessError as error:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        lines = (getattr(error, "stderr", None) or "").strip().splitlines() or [str(error)]
        logging.info("no GPU to work with: %s", lines[-1])
        return 0
