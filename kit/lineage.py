"""What a run was trained as: its recipe and its inputs, which today's must agree with.

Inputs are the images and labels, the folds, the extra data, and the weights that it started from, each by its content.
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
_SCORED_BY = ("threshold.binarization", "threshold.removal", "threshold.top", "threshold.candidates")
"""Keys that a validation's score goes by."""


class Inputs(Document):
    """What `inputs.json` of a run holds."""

    images: str
    """Hash of all training images and their label rows."""
    folds: str
    """SHA-256 of the fold file."""
    fold_file: Annotated[str, Field(pattern=r"^[^/\x00]+$")]
    """Its name in `folds/`."""
    starts: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the weights that the folds started from, by what to call them."""
    extra: dict[str, str] = Field(default_factory=dict)
    """Hash of each extra data set, by its name: `kit.data.extra.ExtraData.key`."""

    def changes(self, other: "Inputs") -> list[str]:
        """What differs in other inputs, in words; weights and extra data that only one of the two names do not count.

        So what comes after the training does without the extra data.
        """
        named = {"images or labels": (self.images, other.images), "folds": (self.folds, other.folds)}
        for before, after, what in ((self.starts, other.starts, ""), (self.extra, other.extra, "extra data ")):
            named |= {what + name: (before[name], after[name]) for name in sorted(before.keys() & after.keys())}
        return [name for name, (before, after) in named.items() if before != after]


def inputs_of(image_keys: Sequence[bytes], fold_file: Path | str) -> Inputs:
    """What a training on these images and folds is trained on."""
    fold_file = Path(fold_file)
    return Inputs(images=key_of(*image_keys).hex(), folds=sha256(fold_file), fold_file=fold_file.name)


def read_inputs(run: Run) -> Inputs:
    """What a run was trained on."""
    remedy = f"it was edited, or is of another version: remove {run.folder} and train again"
    return read_document(run.inputs_path, Inputs, remedy)


def extra_data(run: Run) -> list[str]:
    """Names of the extra data sets that a run was trained on."""
    return sorted(read_inputs(run).extra) if run.inputs_path.is_file() else []


def require_same_recipe(run: Run, wanted: Recipe) -> None:
    """Checks that a recipe matches the run's.

    Raises:
        KitError: there is no run, or they differ in what matters to the training.
    """
    if not run.recipe_path.is_file():
        raise KitError(f"{run.folder}: is not a run (no recipe.yaml): run `make train` first")
    before = run.read_recipe()
    changed = differences(before, wanted, lambda key: may_change(key, before))
    if changed:
        raise KitError(
            f"{run.folder}: was trained with other settings ({'; '.join(changed)}): use the same ones, remove "
            f"{run.folder}, or name a new run with SET='name=…'"
        )


def differences(old: Recipe, new: Recipe, may_differ: Callable[[str], bool]) -> list[str]:
    """Keys of two recipes that differ, each with both values, but for those that may, such as `threshold.rule`."""
    before, after = _flat(old.resolved()), _flat(new.resolved())
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not may_differ(key)
    ]


def may_change(key: str, recipe: Recipe) -> bool:
    """Whether a key may change in a trained run: nothing that the training left depends on it, or the machine alone.

    The recipe's own thresholds do where a stage chooses epochs by the score, unless the score has candidates of its
    own; elsewhere they are metrics alone.

    Args:
        key: Its path, such as `threshold.rule`, or a member's `members.a.threshold.rule`.

    >>> from kit import recipes
    >>> small, sneddy = recipes.load("small"), recipes.load("sneddy")
    >>> [may_change("threshold.removal", recipe) for recipe in (small, sneddy)]
    [True, True]
    >>> [may_change("threshold.candidates.0.1", recipe) for recipe in (small, sneddy)]
    [True, False]
    """
    key = re.sub(r"^members\.[^.]+\.", "", key)
    if not key.startswith(_SCORED_BY):
        return key in _AFTER_TRAINING or re.fullmatch(r"stages\.\d+\.(micro_batch|name)", key) is not None
    return not any(
        stage.goes_by_score and (key.startswith("threshold.candidates") or not part.threshold.candidates)
        for part in recipe.parts()
        for stage in part.stages
    )


def check_recipe(run: Run, wanted: Recipe) -> None:
    """Checks that nothing was trained here by another recipe.

    An ensemble may have other members than before, or weigh them otherwise: each is held to its own run's recipe, and
    the mean of the maps is made again.
    """
    if _is_begun(run):
        before = run.read_recipe()
        same = {"weight": before.weight} | ({"members": before.members} if before.members and wanted.members else {})
        require_same_recipe(run, wanted.model_copy(update=same))


def check_inputs(run: Run, inputs: Inputs) -> None:
    """Checks that the data and folds are those that the run was trained on."""
    if changed := read_inputs(run).changes(inputs):
        raise KitError(
            f"{run.folder}: was trained with other {' and '.join(changed)} than those of today "
            f"(folds/{inputs.fold_file}): restore them, remove {run.folder}, or name a new run with SET='name=…'"
        )


def begin(run: Run, wanted: Recipe, inputs: Inputs) -> None:
    """Writes what the run is, or checks it against what it was begun as, once there is an epoch to lose.

    Raises:
        KitError: another recipe or other data were trained here.
    """
    check_recipe(run, wanted)
    if _is_begun(run):
        check_inputs(run, inputs)
        inputs = inputs.model_copy(update={"starts": read_inputs(run).starts | inputs.starts})
    write_json(run.inputs_path, inputs.model_dump(exclude=None if inputs.extra else {"extra"}))
    run.record(wanted)


def last_weights(run: Run, fold: int, inputs: Inputs) -> Path:
    """The last weights of a fold, for another recipe to start from.

    Args:
        run: The other run, which was trained before.
        inputs: What the run that starts is trained on.

    Raises:
        KitError: the fold is not trained to its end, or was trained on other data or folds.
    """
    recipe = run.read_recipe()
    if recipe.members:
        first = next(iter(recipe.members))
        raise KitError(f"{run.folder}: is an ensemble: start from one of its members, start={recipe.name}/{first}")
    last = run.weights(fold, len(recipe.stages) - 1)
    if not last.is_file():
        raise KitError(f"{run.folder}: fold {fold} is not trained to its end: train it first")
    if changed := read_inputs(run).changes(inputs):
        raise KitError(f"{run.folder}: was trained with other {' and '.join(changed)}: train it again to start from it")
    return last


def matching_fold(run: Run, fold: int) -> int:
    """The fold of a run that a fold of a run on another data set starts from: the same, counted round."""
    last = len(run.read_recipe().stages) - 1
    folds = sorted(number for number, stage in run.finished_stages() if stage == last)
    if not folds:
        raise KitError(f"{run.folder}: no fold is trained to its end: train it first")
    return folds[fold % len(folds)]


def _is_begun(run: Run) -> bool:
    """Whether there is an epoch to lose, and it is known of what."""
    begun = any(next(run.folder.rglob(name), None) for name in ("last.ckpt", "weights.safetensors"))
    return begun and run.recipe_path.is_file() and run.inputs_path.is_file()


def _flat(value: object, path: str = "") -> dict[str, object]:
    """The leaves of nested mappings and lists, by their path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            key: leaf
            for name, part in items
            for key, leaf in _flat(part, f"{path}.{name}" if path else str(name)).items()
        }
    return {path: value}
