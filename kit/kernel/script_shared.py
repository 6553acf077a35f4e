"""What every kernel begins with: its inputs, found in each of Kaggle's layouts and verified, and a GPU that works.

`kit.kernel.code` puts a script together from this file and the parts of another one, whose imports it adds.
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
ROOT = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))  # The variable is for rehearsals alone.


# %% Where the inputs are
# Below `/kaggle/input`: by one of two schemes, unpacked or as the archive that was uploaded.


def mounts(name: str, kind: str) -> list[Path]:
    """Where Kaggle may have mounted an input of that name: by either of its schemes, else anywhere."""
    known = [ROOT / "input" / name, *sorted((ROOT / "input" / kind).glob(f"**/{name}"))]
    return [path for path in known if path.is_dir()] or [ROOT / "input"]


def archives(folder: Path) -> Iterator[zipfile.ZipFile]:
    """The archives below a folder that can be opened."""
    for path in sorted(folder.rglob("*.zip")):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            yield archive


def sha256(path: Path) -> str:
    """In hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# %% The files of the build, each with the hash that it was built with
# `manifest.json` has the SHA-256 of each file, so that no file of another build gets in.


def find_bundle() -> Path:
    """The folder of the dataset that this kernel was built with; of any build, where it was written for all."""
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
    """Stops if a file is missing or is not as it was when the kernel was built."""
    for name, expected in json.loads((bundle / "manifest.json").read_text("utf-8"))["files"].items():
        if not (bundle / name).is_file():
            raise RuntimeError(f"{bundle / name}: is missing: upload the dataset again")
        if sha256(bundle / name) != expected:
            raise RuntimeError(f"{bundle / name}: is not the file of the build: upload the dataset again")


# %% A GPU, if it works
# Some that are there cannot compute anything: the image's libraries are built for others, or a driver hangs.

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
    """How many GPUs compute; hides them all where one does not, as the image's libraries may not serve it."""
    if not any(DEVICES.glob("nvidia*")) and shutil.which("nvidia-smi") is None:
        logging.info("no GPU: the machine has none")
        return 0
    probe = [sys.executable, "-c", PROBE]
    try:
        return int(subprocess.run(probe, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout)
    except subprocess.SubprocessError as error:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        told = (getattr(error, "stderr", None) or "").strip().splitlines() or [str(error)]
        logging.info("no GPU to work with: %s", told[-1])
        return 0
