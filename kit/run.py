"""A run: one recipe on one data set, and where each of its artefacts lies (`runs/NAME/RECIPE/`)."""

import re
from dataclasses import dataclass
from pathlib import Path

from kit import inputs as trained_on
from kit import recipes
from kit.core.errors import KitError
from kit.core.files import present, write_json, write_text
from kit.inputs import Inputs
from kit.recipes.differences import differences
from kit.recipes.schema import Recipe

AFTER_TRAINING = ("about", "tta", "prevalence", "threshold.rule", "threshold.transfer")
"""Keys of a recipe that may change in a trained run: they are read only after the training."""


@dataclass(frozen=True)
class Trained:
    """All that predicts, whether it lies in a run or in a kernel's bundle."""

    recipe: Recipe
    weights: dict[str, list[Path]]
    """Files of the networks to average, by the label of the part of the recipe."""
    thresholds: Path
    stacks: dict[bool, Path]
    """How an ensemble's classifying members are put together, with and without TTA."""


@dataclass(frozen=True)
class Run:
    """Paths of a run's artefacts, relative to nothing but its folder."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.folder / "recipe.yaml"

    @property
    def inputs_path(self) -> Path:
        """What the run was trained on."""
        return self.folder / "inputs.json"

    @property
    def thresholds(self) -> Path:
        """The rule in use and its parameters."""
        return self.folder / "thresholds.json"

    @property
    def surface(self) -> Path:
        """Mean OOF Dice at each point of the grid of the rule in use."""
        return self.folder / "surface.npz"

    @property
    def submission(self) -> Path:
        """The masks of the test images, as the competition takes them."""
        return self.folder / "submission.csv"

    @property
    def log(self) -> Path:
        """What the verbs said."""
        return self.folder / "log.txt"

    def stage(self, fold: int, number: int) -> Path:
        """Folder of stage `number` (from 0; the folder counts from 1) of a fold."""
        return self.folder / f"fold{fold}" / f"stage{number + 1}"

    def weights(self, fold: int, number: int) -> Path:
        """The averaged weights of a stage; where the predictions of several are averaged, those of the best."""
        return self.stage(fold, number) / "weights.safetensors"

    def left(self, fold: int, number: int) -> list[Path]:
        """All weights that a stage has left, to average the predictions of."""
        found = self.stage(fold, number).glob("weights*.safetensors")
        return sorted(path for path in found if re.fullmatch(r"weights(-\d+)?", path.stem))

    def passed_on(self, fold: int, number: int) -> Path:
        """The weights that the next stage starts from."""
        best = self.stage(fold, number) / "best.safetensors"
        return best if best.is_file() else self.weights(fold, number)

    def final_weights(self, recipe: Recipe) -> list[Path]:
        """The weights of each trained fold's last stage, one or several a fold.

        Raises:
            KitError: no fold has been trained to its end, or the run is an ensemble.
        """
        if recipe.members:
            members = ", ".join(f"{self.folder.name}/{name}" for name in recipe.members)
            raise KitError(f"{self.folder}: is an ensemble: its weights are those of {members}")
        last = f"stage{len(recipe.stages)}"
        found = [
            path
            for fold, number in self.finished_stages()
            if number == len(recipe.stages) - 1
            for path in self.left(fold, number)
        ]
        if not found:
            raise KitError(f"{self.folder}: no fold is trained to the end of {last}: run `make train` first")
        predicted = {path.stem.split("-")[0] for path in self.folder.glob("oof/fold*.npy")}
        for lacking in sorted(predicted - {path.parents[1].name for path in found}):
            raise KitError(f"{self.folder / lacking / last}: its weights are missing: run `make train` again")
        return found

    def trained(self, recipe: Recipe) -> Trained:
        """All that the run predicts with.

        Raises:
            KitError: a part is not trained to its end, or no thresholds were chosen.
        """
        weights = {part.label: self.part(part).final_weights(part) for part in recipe.parts()}
        if not present(self.thresholds):
            raise KitError(f"{self.folder}: is not trained to its thresholds: run `make train` first")
        return Trained(recipe, weights, self.thresholds, {tta: self.stack(tta) for tta in (True, False)})

    def oof(self, fold: int, tta: bool = True, role: str = "segment") -> Path:
        """Out-of-fold predictions of a fold's validation part: maps, or for `classify` a probability an image."""
        return self.folder / "oof" / f"fold{fold}{_kind(role)}{_suffix(tta)}.npy"

    def predicted_folds(self) -> list[int]:
        """The folds that have out-of-fold maps, ascending."""
        found = [path.stem.removeprefix("fold") for path in self.folder.glob("oof/fold*.npy")]
        return sorted(int(number) for number in found if number.isdecimal())

    def is_predicted(self, part: Recipe, fold: int) -> bool:
        """Whether a part of the recipe, or the recipe itself, has a fold's OOF predictions, with TTA and without."""
        return all(self.part(part).oof(fold, tta, part.role).is_file() for tta in (True, False))

    def test(self, tta: bool = True, role: str = "segment") -> Path:
        """Predictions of the test images: maps, or for `classify` a probability an image."""
        return self.folder / f"test{_kind(role)}{_suffix(tta)}.npy"

    def stack(self, tta: bool = True) -> Path:
        """How an ensemble's classifying members are put together."""
        return self.folder / f"stack{_suffix(tta)}.json"

    def part(self, part: Recipe) -> "Run":
        """The run of a part of the recipe: a member's lies in a folder of its own, any other is the run itself."""
        return Run(self.folder / part.label) if "/" in part.name else self

    def rule(self, name: str, tta: bool = True) -> Path:
        """Folder of what the threshold search found for one rule."""
        return self.folder / "thresholds" / f"{name}{_suffix(tta)}"

    def finished_stages(self) -> list[tuple[int, int]]:
        """(fold, stage number) of every stage that is trained to its end, in order."""
        found = (path.relative_to(self.folder) for path in self.folder.glob("fold*/stage*/weights.safetensors"))
        named = (re.fullmatch(r"fold(\d+)/stage(\d+)/.*", path.as_posix()) for path in found)  # not a copy of a fold
        return sorted((int(match[1]), int(match[2]) - 1) for match in named if match)

    def read_recipe(self) -> Recipe:
        """The recipe of the run.

        Raises:
            KitError: the folder holds no run.
        """
        if not present(self.recipe_path):
            raise KitError(f"{self.folder}: is not a run (no recipe.yaml): run `make train` first")
        return recipes.read(self.recipe_path)

    def read_inputs(self) -> Inputs:
        """What the run was trained on.

        Raises:
            KitError: inputs.json is missing or is not what a training writes.
        """
        return trained_on.read(self.inputs_path)

    def start(self, fold: int, inputs: Inputs) -> Path:
        """The last weights of a fold, for another recipe to start from.

        Args:
            fold: Number of the fold.
            inputs: What the run that starts is trained on.

        Raises:
            KitError: the fold is not trained to its end, or was trained on other data or folds.
        """
        recipe = self.read_recipe()
        if recipe.members:
            first = next(iter(recipe.members))
            raise KitError(f"{self.folder}: is an ensemble: start from one of its members, start={recipe.name}/{first}")
        last = self.passed_on(fold, len(recipe.stages) - 1)
        if not self.weights(fold, len(recipe.stages) - 1).is_file():
            raise KitError(
                f"{self.folder}: fold {fold} is not trained to its end: run `make train` of this recipe first"
            )
        if changed := self.read_inputs().changes(inputs):
            raise KitError(
                f"{self.folder}: was trained with other {' and '.join(changed)}: train it again to start from it"
            )
        return last

    def counterpart(self, fold: int) -> int:
        """The fold of this run that a fold of a run on another data set starts from: the same, counted round.

        Raises:
            KitError: no fold is trained to its end.
        """
        last = len(self.read_recipe().stages) - 1
        folds = sorted(number for number, stage in self.finished_stages() if stage == last)
        if not folds:
            raise KitError(f"{self.folder}: no fold is trained to its end: run `make train` of this run first")
        return folds[fold % len(folds)]

    def agree(self, wanted: Recipe) -> None:
        """Check that a recipe matches the run's.

        Raises:
            KitError: they differ in what matters to the training.
        """
        changed = differences(self.read_recipe(), wanted, AFTER_TRAINING)
        if changed:
            raise KitError(
                f"{self.folder}: was trained with other settings ({'; '.join(changed)}): use the same ones, remove "
                f"{self.folder}, or name a new run with SET='name=…'"
            )

    def check_recipe(self, wanted: Recipe) -> None:
        """Check that nothing was trained here by another recipe.

        An ensemble may have other members than before: each is held to its own run's recipe, and the mean of the maps
        is made again.

        Raises:
            KitError: something was.
        """
        if self._is_begun:
            before = self.read_recipe().members
            self.agree(wanted.model_copy(update={"members": before}) if before and wanted.members else wanted)

    def check_inputs(self, inputs: Inputs) -> None:
        """Check that the data and folds are those that the run was trained on.

        Raises:
            KitError: they have changed.
        """
        if changed := self.read_inputs().changes(inputs):
            raise KitError(
                f"{self.folder}: was trained with other {' and '.join(changed)} than those of today "
                f"(folds/{inputs.fold_file}): restore them, remove {self.folder}, or name a new run with SET='name=…'"
            )

    def begin(self, wanted: Recipe, inputs: Inputs) -> None:
        """Write what the run is, or check it against what it was begun as, once there is an epoch to lose.

        Args:
            wanted: The recipe to train.
            inputs: What it is trained on.

        Raises:
            KitError: another recipe or other data were trained here.
        """
        self.check_recipe(wanted)
        if self._is_begun:
            self.check_inputs(inputs)
            inputs = inputs.model_copy(update={"starts": self.read_inputs().starts | inputs.starts})
        write_json(self.inputs_path, inputs.model_dump())
        self.record(wanted)

    def record(self, recipe: Recipe) -> None:
        """Write a recipe as the run's, which it is but for keys that are read after the training."""
        write_text(self.recipe_path, recipe.dump())

    @property
    def _is_begun(self) -> bool:
        """Whether there is an epoch to lose, and it is known of what."""
        begun = any(next(self.folder.rglob(name), None) for name in ("last.ckpt", "weights.safetensors"))
        return begun and self.recipe_path.is_file() and self.inputs_path.is_file()


def _kind(role: str) -> str:
    return "-image" if role == "classify" else ""


def _suffix(tta: bool) -> str:
    return "" if tta else "-plain"
