"""A training step: with and without what the allocator is told, in half precision, and as processes side by side."""

import os

from tests.bench.measure import Measure, Row
from tests.bench.steps import Steps

# Recipe, pixels a side, images a step.
STEPS = [("small", 256, 4), ("small", 512, 4), ("exp5", 256, 4), ("exp5", 512, 2)]
WARM, REPEATS = 1, 3


def rows() -> list[Row]:
    """A row a measurement."""
    return [*(_allocator(*step) for step in STEPS), _half("exp5", 256, 4), _side_by_side("small", 160, 4)]


def _allocator(recipe: str, size: int, batch: int) -> Row:
    kept, left = _in_turn(Steps(recipe, size, batch), Steps(recipe, size, batch, keep=False))
    wanted = {("small", 512): 1.45}.get((recipe, size))
    return Row(
        f"step of {recipe}, {size} px, batch {batch}, processor time; wall {kept.times}, "
        f"peak {kept.last('peak'):,.0f} MiB, {kept.last('faults'):,.0f} page faults",
        _processor(kept),
        _processor(left),
        f"glibc's defaults, {left.last('peak'):,.0f} MiB, {left.last('faults'):,.0f} faults",
        bottleneck="convolutions and batch norm of oneDNN and ATen",
        times=wanted,
        why="glibc raises its own threshold up to blocks of 32 MiB, so that batches of 4 gain less than those of 8",
    )


def _half(recipe: str, size: int, batch: int) -> Row:
    half, full = _in_turn(Steps(recipe, size, batch, overrides="precision=bf16-mixed"), Steps(recipe, size, batch))
    return Row(
        f"step of {recipe}, {size} px, batch {batch}, precision=bf16-mixed, processor time; wall {half.times}",
        _processor(half),
        _processor(full),
        "32-true",
        bottleneck="AVX512_BF16 for dense convolutions; depthwise ones and batch norm gain nothing",
    )


def _side_by_side(recipe: str, size: int, batch: int) -> Row:
    """A process a fold with half of the threads each, against one process with all of them; seconds for two steps."""
    threads = max(1, (os.cpu_count() or 2) // 2)
    pair, one = [Steps(recipe, size, batch, threads=threads) for _ in range(2)], Steps(recipe, size, batch)
    for number in range(WARM + REPEATS):
        for steps in pair:
            steps.begin()
        for steps in pair:
            steps.end()
        one.step()
        one.step()
        if number < WARM:
            for steps in (*pair, one):
                steps.forget()
    both = [max(times) for times in zip(*(steps.times.values for steps in pair), strict=True)]
    alone = [sum(times) for times in zip(one.times.values[::2], one.times.values[1::2], strict=True)]
    for steps in (*pair, one):
        steps.close()
    return Row(
        f"two folds side by side, a step each, {recipe}, {size} px, batch {batch}",
        Measure(tuple(both)),
        Measure(tuple(alone)),
        "one after the other with all threads",
        bottleneck="small operators that two threads cannot share",
        wall=True,
        times=1.2,
        why="the other core is not free while something else runs on it",
    )


def _in_turn(*processes: Steps) -> tuple[Steps, ...]:
    for number in range(WARM + REPEATS):
        for steps in processes:
            steps.step()
            if number < WARM:
                steps.forget()
    for steps in processes:
        steps.close()
    return processes


def _processor(steps: Steps) -> Measure:
    """Processor time of a step, which other work on the machine changes little; wall time depends on who else runs."""
    return Measure(steps.times.processor)
