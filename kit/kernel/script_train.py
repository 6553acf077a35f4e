"""Trains a recipe of the kit for pneumothorax segmentation, in one session after the other, offline.

Written by `kit kernel build --train`. It checks the attached data set, which has the code, the recipe, the folds, the
labels and the pretrained weights, against the hashes of the build. In the other inputs it finds the images, and the
output of the version before, from which it resumes. It ends by itself before Kaggle ends it; `session.json` in the
output says whether there is more to do.
"""

import logging
import sys
import zipfile
from pathlib import Path

from kit.kernel.script_shared import BEGIN, ROOT, TIME_LIMIT, choose_device, find_bundle, verify

# %% All together: from the end of the last session to a checkpoint before the time limit
# Folds are trained in parallel, one per GPU. Caches lie in `temp/`, which Kaggle does not keep; the next session needs
# `working/`.

SESSION = 1  # from 2 on, the output of the session before must be attached


def main() -> Path:
    """Trains until everything is done or time is up; returns the folder of the bundle."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout, force=True)
    bundle = find_bundle()
    verify(bundle)
    devices = choose_device()
    packages = ROOT / "temp" / "packages"  # not part of the output; training processes import from here
    for wheel in sorted(bundle.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    sys.path.insert(0, str(packages))
    from kit.kernel import session

    session.run(bundle, ROOT, packages, SESSION, BEGIN + TIME_LIMIT, devices)
    return bundle


if __name__ == "__main__":
    BUNDLE = main()
