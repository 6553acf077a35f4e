"""From a competition folder to the samples of an epoch: folds, cache, augmentation, dataset, sampler."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import of albumentations asks a server for its newest version
