"""The samples of a training, as tensors."""

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
"""Every pixel of a mask of which nothing is known but that it is not empty."""


@dataclass(frozen=True)
class FoldData:
    """What one fold trains and validates on, at one size."""

    cache: Cache
    training: np.ndarray
    """Row numbers; those of extra data come last."""
    validation: np.ndarray
    """Row numbers, none of extra data."""
    positive: np.ndarray
    """bool (len(training),): has pneumothorax."""
    extra: int = 0
    """How many of `training` are of extra data."""
    unknown: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    """Row numbers of positives whose mask is not known, only that there is one."""


class Samples(Dataset):
    """Augmented samples; what sample `index` looks like depends on (seed, epoch, index) alone.

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

    def __getitem__(self, at: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The sample of an (epoch, index)."""
        epoch, index = at
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
    """Loads batches of samples in order, ahead of their use; its workers live as long as it does.

    Beside a GPU they are processes, which share no interpreter with the step; on a CPU, where they would only take the
    cores from the network, threads.
    """

    def __init__(self, samples: Samples, workers: int = WORKERS) -> None:
        self._samples, self._workers = samples, workers
        self._wanted: list[list[tuple[int, int]]] = []
        self._processes: Any = None

    def epoch(self, batches: Sequence[np.ndarray], number: int = 0) -> "DataLoader | Threaded":
        """The batches of an epoch.

        Args:
            batches: Row numbers of each.
            number: Of the epoch, from 0.
        """
        wanted = [[(number, int(row)) for row in rows] for rows in batches]
        if not torch.cuda.is_available():
            return Threaded(self._samples, wanted, self._workers)
        self._wanted[:] = wanted
        if self._processes is None:
            rows: Any = self._wanted  # read anew in each epoch; torch names lists of numbers alone, and takes any items
            self._processes = DataLoader(
                self._samples,
                batch_sampler=rows,
                num_workers=self._workers,
                persistent_workers=True,
                pin_memory=True,
                multiprocessing_context="fork",  # other ways of starting workers copy the whole cache into each
            )
        return self._processes


class Threaded:
    """Batches that threads prepare beside the step on the batch before; the same for any number of threads."""

    def __init__(self, samples: Samples, batches: Sequence[list[tuple[int, int]]], workers: int) -> None:
        self._samples, self._batches, self._workers = samples, batches, workers

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return map_in_order(self._batch, self._batches, self._workers)

    def _batch(self, rows: list[tuple[int, int]]) -> Batch:
        # Not torch.stack: it would start threads of its own in each of these.
        columns = zip(*(self._samples[at] for at in rows), strict=True)
        images, masks = (torch.from_numpy(np.stack([item.numpy() for item in column])) for column in columns)
        return images, masks
