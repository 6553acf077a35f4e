"""Work side by side in threads, in order, with a bounded number of results in memory."""

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
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES names it alone."""
    import torch  # takes seconds, and most verbs do without

    count, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in given.split(",")][:count] if given else [str(number) for number in range(count)]


WORKERS = min(8, cores())
"""Threads; decoding, hashing and array arithmetic release the interpreter's lock."""


def map_in_order(
    function: Callable[[T], R], items: Iterable[T], workers: int = WORKERS, ahead: int | None = None
) -> Iterator[R]:
    """The results of `function` for each item, in order.

    Args:
        function: Called from threads. What it raises is raised here, in its turn.
        items: Taken one at a time, in the caller's thread.
        ahead: How many items are taken ahead of the caller; None: as many as there are workers.

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
    """Reads `count` images batch by batch; the next batch is read in threads while the caller works on this one.

    Args:
        read: The i-th image; called from threads. It raises a KitError where the image cannot be read.
        unreadable: Takes the index and the error of an image that cannot be read; it is left out of its batch.

    Yields:
        The indices of a batch, and what `read` gives for each.
    """

    def one(index: int) -> tuple[int, Any]:
        try:
            return index, read(index)
        except KitError as error:
            return index, error

    items = map_in_order(one, range(count), ahead=batch_size)
    with progress(None, what, count) as bar:
        while batch := list(itertools.islice(items, batch_size)):
            for index, item in batch:
                if isinstance(item, KitError):
                    unreadable(index, item)
            found = [(index, item) for index, item in batch if not isinstance(item, KitError)]
            if found:
                yield [index for index, _ in found], [item for _, item in found]
            bar.update(len(batch))
