"""Training steps in a process of their own, one at a time, each at a word from the parent.

A process of its own, because what the allocator is told holds for a whole process, as does the number of threads.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from tests.bench.measure import Measure, peak


class Steps:
    """A process that trains a recipe's network on tensors in memory.

    Args:
        recipe: Name of the recipe; its network and loss count.
        size: Pixels a side.
        batch: Images a step.
        keep: Whether freed memory is kept (`kit.core.allocator`).
        threads: Of the arithmetic; None: all cores.
        overrides: Of the recipe.
    """

    def __init__(
        self,
        recipe: str,
        size: int,
        batch: int,
        keep: bool = True,
        threads: int | None = None,
        overrides: str = "",
    ) -> None:
        wanted = {"recipe": recipe, "size": size, "batch": batch, "keep": keep, "threads": threads}
        command = [sys.executable, "-m", "tests.bench.steps", json.dumps(wanted | {"overrides": overrides})]
        environment = os.environ | {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._told: list[dict[str, float]] = []

    def begin(self) -> None:
        """Starts a step."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Waits for the step that was started."""
        self._told.append(json.loads(self._process.stdout.readline()))

    def step(self) -> None:
        """One step."""
        self.begin()
        self.end()

    def forget(self) -> None:
        """Leaves out the steps so far, as those that only warmed up."""
        self._told.clear()

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    @property
    def times(self) -> Measure:
        """Wall time, and processor time, of each step."""
        return Measure(*(tuple(step[key] for step in self._told) for key in ("wall", "processor")))

    def last(self, key: str) -> float:
        """Of the last step: `peak` (MiB), `faults` (pages), `system` (seconds)."""
        return self._told[-1][key]


def _network(wanted: dict) -> Callable[[], None]:
    """A step of training."""
    import numpy as np
    import torch

    from kit import networks, recipes
    from kit.core import allocator
    from kit.training import losses
    from kit.training.state import build_optimizer

    if wanted["keep"]:
        allocator.keep_freed_memory()
    if wanted["threads"]:
        torch.set_num_threads(wanted["threads"])
    recipe = recipes.load(wanted["recipe"], f"network.encoder_weights=null {wanted['overrides']}")
    torch.manual_seed(0)
    network = networks.build(recipe.network).train()
    optimizer = build_optimizer(recipe.optimizer, network, 1e-3)
    shape = wanted["batch"], 1, wanted["size"], wanted["size"]
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    masks = (images > 250).to(torch.uint8)
    half = recipe.precision == "bf16-mixed"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits, image_logits = network(images)
        loss = losses.total(recipe.loss, logits, image_logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _main(wanted: dict) -> None:
    step = _network(wanted)
    for _ in sys.stdin:
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        step()
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        system = after.ru_stime - before.ru_stime
        told = {
            "wall": wall,
            "processor": after.ru_utime - before.ru_utime + system,
            "system": system,
            "faults": after.ru_minflt - before.ru_minflt,
            "peak": peak(),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
