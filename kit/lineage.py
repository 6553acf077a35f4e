"""What a run was trained with, recipe and inputs, and whether they match today's.

Inputs are hashes of the images and labels, the folds, the extra data and the initial weights.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kit.core.documents import Document, read_document
from kit.core.errors import KitError
from kit.core.files import sha256, write_json
from kit.core.store import key_of
from kit.recipes.schema import Recipe
from kit.run import Run

_AFTER_TRAINING = {"about", "prevalence", "reported", "source", "tta", "untrained"}
_AFTER_TRAINING |= {f"threshold.{key}" for key in ("gate", "rule", "smallest_contour", "transfer")}
"""Keys that no trained weights depend on."""
_SCORE_KEYS = ("threshold.binarization", "threshold.removal", "threshold.top", "threshold.candidates")
"""Keys that the scores of validations depend on."""


class Inputs(Document):
    """Content of the `inputs.json` of a run."""

    images: str
    """Hash of all training images and their label rows."""
    folds: str
    """SHA-256 of the fold file."""
    fold_file: Annotated[str, Field(pattern=r"^[^/\x00]+$")]
    """Name of the fold file in `folds/`."""
    starts: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the initial weights of each fold, by description."""
    extra: dict[str, str] = Field(default_factory=dict)
    """Hash of each extra data set (`kit.data.extra.ExtraData.key`), by name."""

    def changes(self, other: "Inputs") -> list[str]:
        """Describes what differs in other inputs.

        Weights and extra data count only if both have them: what follows a training does not need the extra data.
        """
        pairs = {"images or labels": (self.images, other.images), "folds": (self.folds, other.folds)}
        for before, after, prefix in ((self.starts, other.starts, ""), (self.extra, other.extra, "extra data ")):
            pairs |= {prefix + name: (before[name], after[name]) for name in sorted(before.keys() & after.keys())}
        return [name for name, (before, after) in pairs.items() if before != after]


def inputs_of(image_keys: Sequence[bytes], fold_file: Path | str) -> Inputs:
    """Returns the inputs of a training on these images and folds."""
    fold_file = Path(fold_file)
    return Inputs(images=key_of(*image_keys).hex(), folds=sha256(fold_file), fold_file=fold_file.name)


def read_inputs(run: Run) -> Inputs:
    """Reads the inputs of a run."""
    remedy = f"it was edited, or is of another version: remove {run.folder} and train again"
    return read_document(run.inputs_path, Inputs, remedy)


def extra_data(run: Run) -> list[str]:
    """Returns the names of the extra data sets that a run was trained on."""
    return sorted(read_inputs(run).extra) if run.inputs_path.is_file() else []


def require_same_recipe(run: Run, recipe: Recipe) -> None:
    """Checks that a recipe would train the same run.

    Raises:
        KitError: there is no run, or a key that affects the training differs.
    """
    trained = run.read_recipe()
    if changed := differences(trained, recipe, lambda key: may_change(key, trained)):
        raise KitError(
            f"{run.folder}: was trained with other settings ({'; '.join(changed)}): use the same ones, remove "
            f"{run.folder}, or name a new run with SET='name=…'"
        )


def differences(old: Recipe, new: Recipe, may_differ: Callable[[str], bool]) -> list[str]:
    """Returns the keys in which two recipes differ, each with both values, except those that `may_differ`."""
    before, after = _flat(old.resolved()), _flat(new.resolved())
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not may_differ(key)
    ]


def may_change(key: str, recipe: Recipe) -> bool:
    """Whether a key may change in a trained run, because no trained weights depend on it.

    Weights depend on the recipe's thresholds if a stage chooses epochs by score. With `threshold.candidates`, the score
    depends on the candidates instead.

    Args:
        key: Path of the key, such as `threshold.rule` or, for a member, `members.a.threshold.rule`.

    >>> from kit import recipes
    >>> small, sneddy = recipes.load("small"), recipes.load("sneddy")
    >>> [may_change("threshold.removal", recipe) for recipe in (small, sneddy)]
    [True, True]
    >>> [may_change("threshold.candidates.0.1", recipe) for recipe in (small, sneddy)]
    [True, False]
    """
    key = re.sub(r"^members\.[^.]+\.", "", key)
    if not key.startswith(_SCORE_KEYS):
        return key in _AFTER_TRAINING or re.fullmatch(r"stages\.\d+\.(micro_batch|name)", key) is not None
    return not any(
        stage.uses_scores and (key.startswith("threshold.candidates") or not part.threshold.candidates)
        for part in recipe.parts()
        for stage in part.stages
    )


def check_recipe(run: Run, recipe: Recipe) -> None:
    """Checks that the run was not trained by another recipe.

    The members and weights of an ensemble may change: each member is checked against its own run, and the mean of the
    maps is made again.
    """
    if _has_begun(run):
        before = run.read_recipe()
        # What may differ is taken from the run's own recipe.
        same = {"weight": before.weight} | ({"members": before.members} if before.members and recipe.members else {})
        require_same_recipe(run, recipe.model_copy(update=same))


def check_inputs(run: Run, inputs: Inputs) -> None:
    """Checks that the run was trained on these inputs."""
    if changed := read_inputs(run).changes(inputs):
        raise KitError(
            f"{run.folder}: was trained with other {' and '.join(changed)} than today's "
            f"(folds/{inputs.fold_file}): restore them, remove {run.folder}, or name a new run with SET='name=…'"
        )


def begin(run: Run, recipe: Recipe, inputs: Inputs) -> None:
    """Records the recipe and inputs of a run; if an epoch is trained already, checks that they match.

    Raises:
        KitError: the run was trained with another recipe or on other data.
    """
    check_recipe(run, recipe)
    if _has_begun(run):
        check_inputs(run, inputs)
        inputs = inputs.model_copy(update={"starts": read_inputs(run).starts | inputs.starts})
    write_json(run.inputs_path, inputs.model_dump(exclude=None if inputs.extra else {"extra"}))
    run.write_recipe(recipe)


def last_weights(run: Run, fold: int, inputs: Inputs) -> Path:
    """Returns the last weights of a fold, from which another recipe starts.

    Args:
        run: The run that was trained before.
        inputs: Inputs of the run that starts.

    Raises:
        KitError: the fold is not fully trained, or was trained on other data or folds.
    """
    recipe = run.read_recipe()
    if recipe.members:
        first = next(iter(recipe.members))
        raise KitError(f"{run.folder}: is an ensemble: start from one of its members, start={recipe.name}/{first}")
    last = run.weights(fold, len(recipe.stages) - 1)
    if not last.is_file():
        raise KitError(f"{run.folder}: fold {fold} is not fully trained: train it first")
    if changed := read_inputs(run).changes(inputs):
        raise KitError(f"{run.folder}: was trained with other {' and '.join(changed)}: train it again to start from it")
    return last


def matching_fold(run: Run, fold: int) -> int:
    """Returns the fold of `run` from which `fold` of a run on other data starts: the same, modulo the trained folds."""
    last = len(run.read_recipe().stages) - 1
    folds = sorted(number for number, stage in run.finished_stages() if stage == last)
    if not folds:
        raise KitError(f"{run.folder}: no fold is fully trained: train it first")
    return folds[fold % len(folds)]


def _has_begun(run: Run) -> bool:
    """Whether an epoch is trained, and by which recipe on which inputs is known."""
    begun = any(next(run.folder.rglob(name), None) for name in ("last.ckpt", "weights.safetensors"))
    return begun and run.recipe_path.is_file() and run.inputs_path.is_file()


def _flat(value: object, path: str = "") -> dict[str, object]:
    """Returns the leaves of nested mappings and lists, by path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            key: leaf
            for name, part in items
            for key, leaf in _flat(part, f"{path}.{name}" if path else str(name)).items()
        }
    return {path: value}
