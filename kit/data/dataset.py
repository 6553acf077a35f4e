"""Training samples as tensors, and the loading of batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kit.core.parallel import WORKERS, map_in_order
from kit.data.augmentation import Augmentation
from kit.data.cache import Cache

UNKNOWN_MASK = 255
"""Value of all pixels of a mask that is known to be not empty, but not where."""


@dataclass(frozen=True)
class FoldData:
    """Training and validation images of one fold, at one size."""

    cache: Cache
    training: np.ndarray
    """Row numbers; extra data come last."""
    validation: np.ndarray
    """Row numbers, without extra data."""
    positive: np.ndarray
    """bool (len(training),): whether the image has pneumothorax."""
    extra: int = 0
    """Number of training images that are extra data."""
    unknown: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    """Row numbers of positives without a known mask."""


class Samples(Dataset):
    """Augmented samples, each of which depends only on (seed, epoch, index).

    An item is the image, uint8 (1, size, size), and its mask, uint8 (1, size, size), 0 or 1, or all `UNKNOWN_MASK`.
    """

    def __init__(
        self,
        cache: Cache,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        unknown: Iterable[int] = (),
    ) -> None:
        self._cache, self._augmentation, self._seed = cache, augmentation, seed
        self._unknown = frozenset(map(int, unknown))

    def __len__(self) -> int:
        return len(self._cache.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the sample of an (epoch, index)."""
        epoch, index = key
        image, mask = np.array(self._cache.images[index]), np.array(self._cache.masks[index])
        if self._augmentation is not None:
            seed = int(np.random.SeedSequence([self._seed, epoch, int(index)]).generate_state(1)[0])
            image, mask = self._augmentation(image, mask, seed)
        if index in self._unknown:
            mask = np.full_like(mask, UNKNOWN_MASK)
        return torch.from_numpy(np.ascontiguousarray(image))[None], torch.from_numpy(np.ascontiguousarray(mask))[None]


Batch = tuple[torch.Tensor, torch.Tensor]
"""Images and masks, uint8 (B, 1, size, size) each."""


class Loader:
    """Loads batches of samples in order and ahead of their use, with persistent workers.

    With a GPU, the workers are processes, so that they do not share the interpreter with the training step. On a CPU,
    where processes would only take cores from the network, they are threads.
    """

    def __init__(self, samples: Samples, workers: int = WORKERS) -> None:
        self._samples, self._workers = samples, workers
        self._batches: list[list[tuple[int, int]]] = []
        self._processes: Any = None

    def epoch(self, batches: Sequence[np.ndarray], number: int = 0) -> "DataLoader | ThreadedLoader":
        """Returns the batches of an epoch.

        Args:
            batches: Row numbers of each batch.
            number: Number of the epoch, from 0.
        """
        keys = [[(number, int(row)) for row in rows] for rows in batches]
        if not torch.cuda.is_available():
            return ThreadedLoader(self._samples, keys, self._workers)
        self._batches[:] = keys
        if self._processes is None:
            rows: Any = self._batches  # read again in each epoch; torch's type only allows numbers, its code any items
            self._processes = DataLoader(
                self._samples,
                batch_sampler=rows,
                num_workers=self._workers,
                persistent_workers=True,
                pin_memory=True,
                multiprocessing_context="fork",  # other methods copy the whole cache into each worker
            )
        return self._processes


class ThreadedLoader:
    """Loads batches in threads during the step on the previous batch; independent of the number of threads."""

    def __init__(self, samples: Samples, batches: Sequence[list[tuple[int, int]]], workers: int) -> None:
        self._samples, self._batches, self._workers = samples, batches, workers

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return map_in_order(self._batch, self._batches, self._workers)

    def _batch(self, keys: list[tuple[int, int]]) -> Batch:
        # Not torch.stack, which would start its own threads in each of these.
        columns = zip(*(self._samples[key] for key in keys), strict=True)
        images, masks = (torch.from_numpy(np.stack([item.numpy() for item in column])) for column in columns)
        return images, masks
