"""Segments pneumothorax in chest X-rays, offline.

Written by `kit kernel build`. It writes submission.csv at once, with empty masks. All that it needs to fill it,
networks, thresholds and packages, is in the attached data set; it checks that against the hashes of the build, and
predicts the competition's test images. What goes wrong ends a run that people see; the hidden rerun goes on with what
the submission holds by then.
"""

import contextlib
import csv
import hashlib
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

# identity: not pushed
BEGIN = time.monotonic()
DATASET = "slug-of-the-dataset"
COMPETITION = "slug-of-the-competition"
MANIFEST = "sha256-of-the-manifest"
TIME_LIMIT = 0.0  # seconds
RERUN = bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))  # On the hidden images: a failure would lose the score.
ROOT = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))  # The variable is for rehearsals alone.
SUBMISSION = ROOT / "working" / "submission.csv"


# %% Where the inputs are


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


# %% First of all a submission that is valid whatever happens later: every image empty


def test_ids() -> list[str]:
    """The ids of the sample submission; where it is missing or empty, the names of the test images."""
    folder = mounts(COMPETITION, "competitions")[0]
    samples = sorted(folder.rglob("*sample_submission.csv"), key=lambda path: "stage_2" not in path.name)
    texts = [path.read_text("utf-8-sig", errors="replace") for path in samples]
    for archive in archives(folder) if not any(texts) else []:
        for name in (name for name in archive.namelist() if name.endswith("sample_submission.csv")):
            with contextlib.suppress(zipfile.BadZipFile, zlib.error):
                texts.append(archive.read(name).decode("utf-8-sig", errors="replace"))
    for text in texts:
        rows = [row[0].strip() for row in csv.reader(text.splitlines()) if row]
        if ids := list(dict.fromkeys(name for name in rows if name not in ("", "ImageId"))):
            return ids
    return sorted({path.stem for path in folder.rglob("*.dcm") if "train" not in path.parent.name})


def write_empty() -> None:
    """Writes the submission with the standard library alone."""
    rows = [("ImageId", "EncodedPixels"), *((name, -1) for name in test_ids())]
    with open(SUBMISSION, "w", newline="") as target:
        csv.writer(target, lineterminator="\n").writerows(rows)


# %% The files of the build, each with the hash that it was built with


def find_bundle() -> Path:
    """The folder of the dataset that this kernel was built with."""
    places = mounts(DATASET, "datasets")
    for archive in itertools.chain.from_iterable(map(archives, tuple(places))):
        if "manifest.json" in archive.namelist():
            places.append(Path(tempfile.mkdtemp(prefix="bundle-")))
            archive.extractall(places[-1])
    for manifest in (path for place in places for path in sorted(place.rglob("manifest.json"))):
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


# %% A GPU, if it works

PROBE = """
import torch
for number in range(torch.cuda.device_count()):
    x = torch.ones(64, 64, device=f"cuda:{number}")
    assert (x @ x).sum().item() == 64**3
assert torch.cuda.is_available(), "there is none"
"""
PATIENCE = 120  # seconds


def choose_device() -> None:
    """Hides the GPUs if they do not compute: the image's CUDA libraries may not serve them, or a driver hangs."""
    try:
        subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.SubprocessError as error:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        told = (getattr(error, "stderr", None) or "").strip().splitlines() or [str(error)]
        logging.info("no GPU to work with: %s", told[-1])


# %% All together: from the test images to submission.csv


def predict() -> Path:
    """Finds and verifies the bundle, and fills the submission; gives the folder of the bundle."""
    bundle = find_bundle()
    verify(bundle)
    logging.info("%s: as built, found and verified in %.1f s", bundle, time.monotonic() - BEGIN)
    choose_device()
    sys.path[:0] = map(str, sorted(bundle.glob("*.whl")))  # Packages that Kaggle's image lacks, of Python alone.
    from kit.kernel import offline

    logging.info("imported after %.1f s", time.monotonic() - BEGIN)
    offline.run(bundle, mounts(COMPETITION, "competitions")[0], SUBMISSION, BEGIN + TIME_LIMIT)
    return bundle


def main() -> Path | None:
    """Writes the submission; gives the folder of the bundle, None where a rerun could not use it."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout, force=True)
    try:
        write_empty()
        return predict()
    except Exception:
        if not RERUN:
            raise
        logging.exception("the submission stays as it is")
    return None


if __name__ == "__main__":
    BUNDLE = main()
