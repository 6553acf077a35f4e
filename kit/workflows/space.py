"""Disk space of a training, estimated before it starts: caches, weights and checkpoints, maps."""

import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.data.cache import files as cache_files
from kit.data.extra import ExtraData
from kit.data.folds import Folds
from kit.recipes.schema import Network, Recipe
from kit.recipes.stage import Stage
from kit.run import Run
from kit.workflows.workspace import Workspace

log = logging.getLogger(__name__)

_KINDS = _CACHE, _WEIGHTS, _MAPS = "cache", "weights and checkpoints", "maps"
Sizes = dict[tuple[str, Path], int]
"""Sizes in bytes, by kind and file."""


def of_training(
    workspace: Workspace,
    competition: Competition,
    run: Run,
    recipe: Recipe,
    split: Folds,
    folds: Sequence[int],
    extra: Mapping[str, ExtraData],
) -> Sizes:
    """Returns the files that a run still needs up to its submission, with their sizes."""
    sizes: Sizes = {}
    tests = len(competition.test)
    for part in recipe.parts():
        part_run = run.part(part)
        for data in (competition, *([extra[part.extra.data].competition] if part.extra else [])):
            for size in {stage.size for stage in part.stages}:
                for name in cache_files(recipe.mask_resizing):
                    sizes[_CACHE, workspace.cache(data) / str(size) / name] = len(data.train) * size**2
        stages = [(part_run.weights(fold, number), stage) for fold in folds for number, stage in enumerate(part.stages)]
        unfinished = [(path, stage) for path, stage in stages if not path.is_file()]
        weight_bytes = _bytes_of_weights(part.network) if unfinished else 0
        for path, stage in unfinished:
            sizes[_WEIGHTS, path] = weight_bytes * stage.networks
            # One stage has checkpoints at a time, and the next one is written beside the last one.
            checkpoint = _WEIGHTS, run.folder / "last.ckpt"
            sizes[checkpoint] = max(sizes.get(checkpoint, 0), 2 * weight_bytes * _networks_in_checkpoint(stage))
    predicted = [(run.part(part), part) for part in recipe.parts()] + ([(run, recipe)] if recipe.members else [])
    for part_run, part in predicted:
        area = part.stages[-1].size ** 2 if part.role == "segment" else 0
        for tta in (True, False):
            if part_run is run and (recipe.tta or not tta):  # members have no maps of test images
                sizes[_MAPS, part_run.test(tta=tta, role=part.role)] = tests * area
            for fold in folds:
                sizes[_MAPS, part_run.oof(fold, tta=tta, role=part.role)] = len(split.validation(fold)) * area
    return {(kind, path): size for (kind, path), size in sizes.items() if size and not _is_there(path)}


def kept(sizes: Sizes) -> int:
    """Returns the bytes of everything that stays after a training: all but the cache."""
    return sum(size for (kind, _), size in sizes.items() if kind != _CACHE)


def check(sizes: Sizes) -> None:
    """Logs the disk space that a training needs, and raises if there is less."""
    if not sizes:
        return
    kinds, disks, folders = Counter[str](), Counter[int](), dict[int, Path]()
    for (kind, path), size in sizes.items():
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        disk = os.stat(folder).st_dev
        folders.setdefault(disk, folder)
        kinds[kind] += size
        disks[disk] += size
    free = {disk: shutil.disk_usage(folder).free for disk, folder in folders.items()}
    listed = ", ".join(f"{kind} {_text(kinds[kind])}" for kind in _KINDS if kinds[kind])
    room = ", ".join(map(_text, free.values()))
    log.info("will use up to %s of disk (%s); free: %s", _text(sum(kinds.values())), listed, room)
    for disk, folder in folders.items():
        if disks[disk] > free[disk]:
            raise KitError(
                f"{folder}: this training needs {_text(disks[disk])} there, but only {_text(free[disk])} are free: "
                "make room (docs/how-to/compare.md says what can be deleted), or work on a larger disk"
            )


def _bytes_of_weights(network: Network) -> int:
    import torch

    from kit import networks

    with torch.device("meta"):
        state = networks.build(network, pretrained=False).state_dict()
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def _networks_in_checkpoint(stage: Stage) -> int:
    """Returns the size of a checkpoint in networks: the network, Adam's two means, an average, the best so far."""
    keep = stage.keep
    return 3 + (keep.swa is not None or keep.ema is not None) + (keep.best.epochs if keep.best else 0)


def _is_there(path: Path) -> bool:
    return path.exists() or path.with_name(f".{path.name}.part").exists()


def _text(size: float) -> str:
    """Formats a number of bytes.

    >>> _text(391e6), _text(15.2e9)
    ('391 MB', '15.2 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
