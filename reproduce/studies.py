"""The trainings behind the paper's tables and claims, each a recipe with overrides."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kit import recipes
from kit.workflows import folds, predict, train
from kit.workflows.workspace import Workspace
from reproduce import paper

TWO, ONE, LOW, HALF, DEEPER = "two-stages", "one-stage", "low-resolution", "half-data", "deeper-encoder"
"""Trainings for the claims: two sizes one after the other, only the larger size, only the smaller size, both sizes with
half of the images, and both sizes with a deeper encoder. All but the last process the same number of pixels."""
_EPOCHS = "stages.0.epochs={} stages.1.epochs={}"
_ALONE = (
    "stages=[{{size: {}, epochs: {}, batch_size: 8, learning_rate: 0.001, keep: {{swa: {{last: 2}}}}, "
    "positive_share: 0.5}}]"
)
ARMS = {
    TWO: _EPOCHS.format(8, 3),
    ONE: _ALONE.format(64, 5),
    LOW: _ALONE.format(32, 20),
    HALF: f"{_EPOCHS.format(16, 6)} folds.holdout=0.75",
    DEEPER: f"{_EPOCHS.format(8, 3)} network.encoder=resnet50",
}
"""Overrides of each arm over the recipe `demo`, which trains at 32×32 and then at 64×64."""
SEEDS = (0, 1, 2)


class Training(NamedTuple):
    """A recipe and overrides for a run of a study."""

    recipe: str
    overrides: str = ""


def _augmented(groups: Sequence[str]) -> Training:
    name = "-".join(filter(None, ("augmentation", "".join(groups))))
    return Training("augmentation", f"name={name} augmentation=[{','.join(groups)}]")


def _claim(arm: str, seed: int) -> Training:
    shared = f"name=claims-{arm}-{seed} seed={seed} folds.holdout=0.5 threshold.removal=2048"
    return Training("demo", f"{shared} {ARMS[arm]}")


STUDIES: dict[str, list[Training]] = {
    "experiments": [Training(name) for name in paper.TABLE_6],
    "study": [_augmented(groups) for groups in paper.TABLE_10],
    "claims": [_claim(arm, seed) for seed in SEEDS for arm in ARMS],
}
"""Trainings by verb: for Tables 5 to 8 and 11, Table 10, and the claims in the abstract and in sections 6 and 7."""


def train_all(workspace: Workspace, data: Path | str, trainings: Iterable[Training], overrides: Sequence[str]) -> None:
    """Makes the folds of each training, trains it and predicts the test images; finished steps are skipped.

    Args:
        trainings: A value of `STUDIES`.
        overrides: KEY=VALUE pairs for every recipe, applied after the training's own.

    Raises:
        KitError: as in the verbs `folds`, `train` and `predict`.
    """
    for training in trainings:
        recipe = recipes.load(training.recipe, [training.overrides, *overrides])
        folds.make_folds(workspace, data, recipe)
        train.train(workspace, train.Job(data, recipe))
        predict.predict(workspace, data, recipe)
