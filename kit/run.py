"""A run: one recipe on one data set, and where each of its artefacts lies (`runs/NAME/RECIPE/`)."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from kit import recipes
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, write_text
from kit.recipes.schema import Recipe


@dataclass(frozen=True)
class Trained:
    """All that predicts, whether it lies in a run or in a kernel's bundle."""

    recipe: Recipe
    weights: dict[str, list[Path]]
    """Files of the networks to average, by the label of the part of the recipe."""
    thresholds: Path
    stacks: dict[bool, Path] = field(default_factory=dict)
    """How an ensemble's classifying members are put together, with and without TTA."""


class Run:
    """Paths of a run's artefacts, by its folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.recipe_path = self.folder / "recipe.yaml"  # resolved
        self.inputs_path = self.folder / "inputs.json"  # what it was trained on
        self.thresholds = self.folder / "thresholds.json"  # the rule in use and its parameters
        self.surface = self.folder / "surface.npz"  # mean OOF Dice at each point of that rule's grid
        self.submission = self.folder / "submission.csv"  # the masks of the test images, as the competition takes them
        self.model = self.folder / "model.safetensors"  # all that it predicts with as one file, to share
        self.log = self.folder / "log.txt"  # what the verbs said

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def stage(self, fold: int, number: int) -> Path:
        """Folder of stage `number` (from 0; the folder counts from 1) of a fold."""
        return self.folder / f"fold{fold}" / f"stage{number + 1}"

    def weights(self, fold: int, number: int) -> Path:
        """The weights that a stage leaves and the next starts from; of several networks those of the best."""
        return self.stage(fold, number) / "weights.safetensors"

    def stage_weights(self, fold: int, number: int) -> list[Path]:
        """All weights that a stage has left, to average the predictions of."""
        found = self.stage(fold, number).glob("weights*.safetensors")
        return sorted(path for path in found if re.fullmatch(r"weights(-\d+)?", path.stem))

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
            for path in self.stage_weights(fold, number)
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
        if not is_file_or_raise(self.thresholds):
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

    def is_trained(self, recipe: Recipe, fold: int) -> bool:
        """Whether every part of the recipe has a fold's last weights and its OOF predictions."""
        return all(
            self.part(part).weights(fold, len(part.stages) - 1).is_file() and self.is_predicted(part, fold)
            for part in recipe.parts()
        )

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
        if not is_file_or_raise(self.recipe_path):
            raise KitError(f"{self.folder}: is not a run (no recipe.yaml): train it first")
        return recipes.load(self.recipe_path)

    def record(self, recipe: Recipe) -> None:
        """Writes a recipe as the run's, which it is but for keys that are read after the training."""
        write_text(self.recipe_path, recipe.dump())


def _kind(role: str) -> str:
    return "-image" if role == "classify" else ""


def _suffix(tta: bool) -> str:
    return "" if tta else "-plain"
