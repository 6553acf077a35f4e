"""The samples of a training, as tensors."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kit.data.augmentation import Augmentation
from kit.data.cache import Cache


@dataclass(frozen=True)
class FoldData:
    """What one fold trains and validates on, at one size."""

    cache: Cache
    training: np.ndarray
    """Row numbers."""
    validation: np.ndarray
    """Row numbers."""
    positive: np.ndarray
    """bool (len(training),): has pneumothorax."""


class Samples(Dataset):
    """Augmented samples; what sample `index` looks like depends on (seed, epoch, index) alone.

    An item is the image, uint8 (1, size, size), and its mask, uint8 (1, size, size), 0 or 1.

    Args:
        cache: The images and masks at the stage's size.
        augmentation: Applied to each sample; None leaves them as they are.
        seed: Of the stage.
        epoch: From 0.
    """

    def __init__(self, cache: Cache, augmentation: Augmentation | None = None, seed: int = 0, epoch: int = 0) -> None:
        self._cache, self._augmentation, self._seed, self._epoch = cache, augmentation, seed, epoch

    def __len__(self) -> int:
        return len(self._cache.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = np.array(self._cache.images[index]), np.array(self._cache.masks[index])
        if self._augmentation is not None:
            seed = int(np.random.SeedSequence([self._seed, self._epoch, int(index)]).generate_state(1)[0])
            image, mask = self._augmentation(image, mask, seed)
        return torch.from_numpy(np.ascontiguousarray(image))[None], torch.from_numpy(np.ascontiguousarray(mask))[None]


def loader(samples: Samples, batches: Sequence[np.ndarray]) -> DataLoader:
    """Loads these batches of row numbers in order: pairs of uint8 (B, 1, size, size).

    Beside a GPU, workers prepare samples ahead; on a CPU they would only take the cores from the network.
    """
    rows: Any = batches  # torch names lists of numbers alone, and takes any sequences
    if not torch.cuda.is_available():
        return DataLoader(samples, batch_sampler=rows)
    return DataLoader(
        samples,
        batch_sampler=rows,
        num_workers=min(8, os.cpu_count() or 1),
        pin_memory=True,
        multiprocessing_context="fork",  # other ways of starting workers copy the whole cache into each
    )
