"""What a run's weights in half precision would cost: its mean Dice out of fold, by the masks of both.

`half.json` of the run holds it, so that it is measured once.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from kit.competition import scoring
from kit.competition.layout import Competition
from kit.core import store
from kit.core.documents import Document, Number, read_document
from kit.core.errors import KitError
from kit.core.files import sha256, write_json
from kit.data import cache
from kit.inference import maps, predict, rules
from kit.inference.model import Model
from kit.kernel import bundle
from kit.run import Run, Trained
from kit.workflows.workspace import Workspace


class _Half(Document):
    """What half.json holds."""

    change: Number


def change(workspace: Workspace, run: Run, competition: Competition) -> float:
    """How the OOF Dice changes when the weights are rounded to half precision.

    Args:
        workspace: Where the caches lie.
        run: A trained run, whose images are of one size.
        competition: What it was trained on.

    Raises:
        KitError: half.json is malformed, or weights are broken.
    """
    report, trained = run.folder / "half.json", run.trained(run.read_recipe())
    made_from = {str(path): sha256(path) for paths in trained.weights.values() for path in paths}
    made_from[run.thresholds.name] = sha256(run.thresholds)
    store.File(report, made_from).build(
        lambda: write_json(report, {"change": _measure(workspace, run, trained, competition)})
    )
    return read_document(report, _Half, "remove it and run the same command again").change


def _measure(workspace: Workspace, run: Run, trained: Trained, competition: Competition) -> float:
    recipe = trained.recipe
    sizes = {part.stages[-1].size for part in recipe.parts()}
    caches = cache.ensure(
        competition, sizes, workspace.cache(competition), skip_bad=True, mask_resizing=recipe.mask_resizing
    )
    row_of = {image_id: row for row, image_id in enumerate(competition.train)}
    rule = rules.read(run.thresholds)
    changes: list[float] = []
    for fold in run.predicted_folds():
        ids = maps.open_maps(run.oof(fold, recipe.tta)).ids

        def read(i: int, ids: tuple[str, ...] = ids) -> dict[int, np.ndarray]:
            return {size: np.array(cached.images[row_of[ids[i]]]) for size, cached in caches.items()}

        full, halved = _networks(run, trained, fold)
        what = f"fold {fold}, full and halved"
        for indices, images in predict.batches(len(ids), read, full.batch_size, what, _never_unreadable):
            for i, *pair in zip(indices, full.inputs(images), halved.inputs(images), strict=True):
                truth = competition.truth(ids[i])
                before, after = (
                    scoring.dice(rule.mask(maps.upsample(levels, competition.shape), probability), truth)
                    for levels, probability in pair
                )
                changes.append(after - before)
    return float(np.mean(changes))


def _networks(run: Run, trained: Trained, fold: int) -> tuple[Model, Model]:
    """A fold's networks with their weights as they are, and rounded to half precision."""
    full = {part.label: run.part(part).left(fold, len(part.stages) - 1) for part in trained.recipe.parts()}
    with tempfile.TemporaryDirectory() as folder:
        halved = {label: [Path(folder, label, path.name) for path in paths] for label, paths in full.items()}
        for label, paths in full.items():
            Path(folder, label).mkdir(parents=True, exist_ok=True)
            for path, target in zip(paths, halved[label], strict=True):
                bundle.write_weights(path, target, half=True)
        before, after = (Model.load(replace(trained, weights=weights)) for weights in (full, halved))
    return before, after


def _never_unreadable(index: int, error: KitError) -> None:
    """Takes what a cache cannot do: fail to give an image that it holds."""
    raise AssertionError(index) from error
