"""Folds, cached images, augmentation and the samples of an epoch."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise its import asks a server for the newest version
