"""Work side by side in threads, in order, with a bounded number of results in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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


def ordered(function: Callable[[T], R], items: Iterable[T], workers: int = WORKERS) -> Iterator[R]:
    """The results of `function` for each item, in order; at most `workers` items are taken ahead of the caller.

    Args:
        function: Called from threads. What it raises is raised here, in its turn.
        items: Taken one at a time, in the caller's thread.
        workers: Number of threads.

    >>> list(ordered(str.upper, "abc"))
    ['A', 'B', 'C']
    """
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                if len(running) == workers:
                    yield running.popleft().result()
                running.append(pool.submit(function, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
