"""Work in threads, with results in order and a bounded number of them in memory."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from kit.core.errors import KitError
from kit.core.progress import progress

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Returns the GPUs that this process may use, each as a value of CUDA_VISIBLE_DEVICES."""
    import torch  # takes seconds, and most verbs do not need it

    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return [gpu.strip() for gpu in visible.split(",")][:count] if visible else list(map(str, range(count)))


WORKERS = min(8, cores())
"""Number of threads; decoding, hashing and array arithmetic release the interpreter lock."""


def map_in_order(
    function: Callable[[T], R], items: Iterable[T], workers: int = WORKERS, ahead: int | None = None
) -> Iterator[R]:
    """Yields the results of `function` for each item, in order.

    Args:
        function: Called in threads; its exceptions are raised in place of its results.
        items: Consumed one at a time, in the caller's thread.
        ahead: Number of items that are consumed ahead of the caller; default: one for each worker.

    >>> list(map_in_order(str.upper, "abc"))
    ['A', 'B', 'C']
    """
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                if len(running) == (ahead or workers):
                    yield running.popleft().result()
                running.append(pool.submit(function, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def batches(
    count: int,
    read: Callable[[int], Any],
    batch_size: int,
    what: str,
    unreadable: Callable[[int, KitError], None],
) -> Generator[tuple[list[int], list[Any]]]:
    """Reads images in batches; threads read the next batch while the caller works on the current one.

    Args:
        read: Reads the image at an index; called in threads. Raises a KitError if the image cannot be read.
        unreadable: Called with the index and the error of each unreadable image, which is left out of its batch.

    Yields:
        The indices of a batch, and their images.
    """

    def read_or_error(index: int) -> tuple[int, Any]:
        try:
            return index, read(index)
        except KitError as error:
            return index, error

    items = map_in_order(read_or_error, range(count), ahead=batch_size)
    with progress(None, what, count) as bar:
        while batch := list(itertools.islice(items, batch_size)):
            for index, item in batch:
                if isinstance(item, KitError):
                    unreadable(index, item)
            images = {index: item for index, item in batch if not isinstance(item, KitError)}
            if images:
                yield list(images), list(images.values())
            bar.update(len(batch))
