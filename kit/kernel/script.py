"""Segments pneumothorax in chest X-rays, offline.

Written by `kit kernel build`. All that it needs, networks, thresholds and packages, is in the attached data set; it
checks that against the hashes of the build, installs the packages, predicts the competition's test images, and writes
submission.csv: at once with empty masks, then ever more complete.
"""

import hashlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# identity: not pushed
BEGIN = time.monotonic()
DATASET = "slug-of-the-dataset"
COMPETITION = "slug-of-the-competition"
MANIFEST = "sha256-of-the-manifest"
TIME_LIMIT = 0.0  # seconds
ROOT = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))  # The variable is for rehearsals alone.


# %% Where the inputs are


def mounts(name: str, kind: str) -> list[Path]:
    """Where Kaggle may have mounted an input of that name: by either of its schemes, else anywhere."""
    known = [ROOT / "input" / name, *sorted((ROOT / "input" / kind).glob(f"**/{name}"))]
    return [path for path in known if path.is_dir()] or [ROOT / "input"]


def unpacked(folder: Path) -> list[Path]:
    """Folders with the content of each archive in a folder."""
    folders = []
    for archive in sorted(folder.rglob("*.zip")):
        folders.append(Path(tempfile.mkdtemp(prefix="bundle-")))
        shutil.unpack_archive(archive, folders[-1])
    return folders


def sha256(path: Path) -> str:
    """In hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# %% The files of the build, each with the hash that it was built with


def find_bundle() -> Path:
    """The folder of the dataset that this kernel was built with."""
    places = mounts(DATASET, "datasets")
    for search in (lambda place: [place], unpacked):
        for folder in (folder for place in places for folder in search(place)):
            for manifest in sorted(folder.rglob("manifest.json")):
                if sha256(manifest) == MANIFEST:
                    return manifest.parent
    listed = sorted(map(str, (ROOT / "input").glob("*/*")))
    raise RuntimeError(f"dataset {DATASET}: no manifest.json with SHA-256 {MANIFEST} in {places}, only {listed}")


def verify(bundle: Path) -> None:
    """Stops if a file is missing or is not as it was when the kernel was built."""
    for name, expected in json.loads((bundle / "manifest.json").read_text("utf-8"))["files"].items():
        if not (bundle / name).is_file():
            raise RuntimeError(f"{bundle / name}: is missing: upload the dataset again")
        if sha256(bundle / name) != expected:
            raise RuntimeError(f"{bundle / name}: is not the file of the build: upload the dataset again")


# %% The packages that Kaggle's image lacks, without a network


def install(bundle: Path) -> None:
    """Installs the bundled wheels, without a network."""
    wheels = sorted(map(str, bundle.glob("*.whl")))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--find-links", str(bundle), *wheels], check=True)
    importlib.invalidate_caches()


# %% A GPU, if it works

PROBE = "import torch; x = torch.ones(64, 64, device='cuda'); assert (x @ x).sum().item() == 64**3"


def choose_device() -> None:
    """Hides the GPU if it does not compute: a machine may have one that the image's CUDA libraries do not serve."""
    tried = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if tried.returncode:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        logging.info("no GPU to work with: %s", (tried.stderr.strip().splitlines() or ["it crashes"])[-1])


# %% All together: from the test images to submission.csv


def main() -> Path:
    """Finds, verifies, installs and predicts; gives the folder of the bundle."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout, force=True)
    bundle = find_bundle()
    verify(bundle)
    logging.info("%s: as built, found and verified in %.1f s", bundle, time.monotonic() - BEGIN)
    install(bundle)
    choose_device()
    from kit.kernel import offline

    logging.info("installed and imported after %.1f s", time.monotonic() - BEGIN)
    competition = mounts(COMPETITION, "competitions")[0]
    offline.run(bundle, competition, ROOT / "working" / "submission.csv", BEGIN + TIME_LIMIT)
    return bundle


if __name__ == "__main__":
    BUNDLE = main()
