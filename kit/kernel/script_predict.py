"""Segments pneumothorax in chest X-rays, offline.

Written by `kit kernel build`. It first writes a submission.csv with empty masks. Then it checks the attached data set,
which has the model and the packages, against the hashes of the build, and predicts the competition's test images. An
error ends a run that people watch; in the hidden rerun the submission stays as it is by then.
"""

import contextlib
import csv
import logging
import os
import sys
import time
import zipfile
import zlib
from pathlib import Path

from kit.kernel.script_shared import (
    BEGIN,
    ROOT,
    TIME_LIMIT,
    archives,
    choose_device,
    find_bundle,
    mounts,
    verify,
)

# %% First of all a submission that is valid whatever happens later: every image empty
# It needs only the standard library, so that no missing or broken package can prevent it.

COMPETITION = "slug-of-the-competition"
RERUN = bool(
    os.environ.get("KAGGLE_IS_COMPETITION_RERUN")
)  # on the hidden images, where a failure would lose the score
SUBMISSION = ROOT / "working" / "submission.csv"


def test_ids() -> list[str]:
    """Returns the ids of the sample submission; if it is missing or empty, the names of the test images."""
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
    images = (path for path in folder.rglob("*") if path.suffix.lower() in (".dcm", ".png", ".jpg", ".jpeg"))
    return sorted({path.stem for path in images if not for_training(path.relative_to(folder).parts[:-1])})


def for_training(folders: tuple[str, ...]) -> bool:
    """Whether the names of an image's folders mark it as a training image; the innermost of train or test decides."""
    kinds = (("train" in name.lower(), "test" in name.lower()) for name in reversed(folders))
    return next((train for train, test in kinds if train != test), False)


def write_empty() -> None:
    """Writes the submission with the standard library alone."""
    rows = [("ImageId", "EncodedPixels"), *((name, -1) for name in test_ids())]
    with open(SUBMISSION, "w", newline="") as target:
        csv.writer(target, lineterminator="\n").writerows(rows)


# %% All together: from the test images to submission.csv
# Images are read at any size, and each gets a mask of its own size.


def predict() -> Path:
    """Finds and verifies the bundle, and fills the submission; returns the folder of the bundle."""
    bundle = find_bundle()
    verify(bundle)
    logging.info("%s: as built, found and verified in %.1f s", bundle, time.monotonic() - BEGIN)
    choose_device()
    sys.path[:0] = map(str, sorted(bundle.glob("*.whl")))  # pure-Python packages that the image lacks
    from kit.kernel import offline

    logging.info("imported after %.1f s", time.monotonic() - BEGIN)
    offline.run(bundle, mounts(COMPETITION, "competitions")[0], SUBMISSION, BEGIN + TIME_LIMIT)
    return bundle


def main() -> Path | None:
    """Writes the submission; returns the folder of the bundle, or None if a rerun failed."""
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
