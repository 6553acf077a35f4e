"""Trains a recipe of the kit for pneumothorax segmentation, a session after the other, offline.

Written by `kit kernel build --train`. All that it needs but the images, the code, the recipe, the folds, the labels and
the pretrained weights, is in the attached data set; it checks that against the hashes of the build. The images are
found in whatever else is attached, and so is the output of the version before, which it goes on from. It ends by itself
before Kaggle ends it; `session.json` beside the run tells whether there is more to do.
"""

import logging
import sys
import zipfile
from pathlib import Path

from kit.kernel.script_shared import BEGIN, ROOT, TIME_LIMIT, choose_device, find_bundle, verify

# %% All together: from where the session before has ended to a checkpoint before the time limit
# Folds are trained side by side, one a GPU. Caches lie in `temp/`, which Kaggle does not keep; `working/` is what the
# next session needs.

SESSION = 1  # A later one must find the output of the one before.


def main() -> Path:
    """Trains until all is done, or time is up; gives the folder of the bundle."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout, force=True)
    bundle = find_bundle()
    verify(bundle)
    devices = choose_device()
    packages = ROOT / "temp" / "packages"  # Not kept as output; processes that train find them by this path.
    for wheel in sorted(bundle.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    sys.path.insert(0, str(packages))
    from kit.kernel import session

    session.run(bundle, ROOT, packages, SESSION, BEGIN + TIME_LIMIT, devices)
    return bundle


if __name__ == "__main__":
    BUNDLE = main()
