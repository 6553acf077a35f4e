"""A run: one recipe trained on one data set, with the paths of its artefacts (`runs/NAME/RECIPE/`)."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from kit import recipes
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, write_text
from kit.recipes.schema import Recipe


@dataclass(frozen=True)
class Trained:
    """The files of a run that predict."""

    recipe: Recipe
    weights: dict[str, list[Path]]
    """Files of the networks to average, by label of the recipe's part."""
    thresholds: Path
    stacks: dict[bool, Path] = field(default_factory=dict)
    """Files that say how the classifying members of an ensemble are stacked, with TTA (True) and without."""


class Run:
    """Paths of the artefacts in the folder of a run."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.recipe_path = self.folder / "recipe.yaml"  # resolved
        self.inputs_path = self.folder / "inputs.json"  # what it was trained on
        self.thresholds = self.folder / "thresholds.json"  # the rule in use and its parameters
        self.surface = self.folder / "surface.npz"  # mean OOF Dice at each point of that rule's grid
        self.submission = self.folder / "submission.csv"  # masks of the test images, in the competition's format
        self.model = self.folder / "model.safetensors"  # everything needed to predict, as one file to share
        self.log = self.folder / "log.txt"  # log of all verbs

    def stage(self, fold: int, number: int) -> Path:
        """Folder of a stage of a fold; `number` counts from 0, the name of the folder from 1."""
        return self.folder / f"fold{fold}" / f"stage{number + 1}"

    def weights(self, fold: int, number: int) -> Path:
        """Weights with which a stage ends and the next stage starts; if there are several networks, the best."""
        return self.stage(fold, number) / "weights.safetensors"

    def stage_weights(self, fold: int, number: int) -> list[Path]:
        """Returns the weights of all networks of a stage, whose predictions are averaged."""
        paths = self.stage(fold, number).glob("weights*.safetensors")
        return sorted(path for path in paths if re.fullmatch(r"weights(-\d+)?", path.stem))

    def final_weights(self, recipe: Recipe) -> list[Path]:
        """Returns the weights of the last stage of each trained fold, one or several files per fold.

        Raises:
            KitError: no fold is fully trained, or the run is an ensemble.
        """
        if recipe.members:
            members = ", ".join(f"{self.folder.name}/{name}" for name in recipe.members)
            raise KitError(f"{self.folder}: is an ensemble: its weights are those of {members}")
        last = f"stage{len(recipe.stages)}"
        weights = [
            path
            for fold, number in self.finished_stages()
            if number == len(recipe.stages) - 1
            for path in self.stage_weights(fold, number)
        ]
        if not weights:
            raise KitError(f"{self.folder}: no fold has finished {last}: run `make train` first")
        predicted = {path.stem.split("-")[0] for path in self.folder.glob("oof/fold*.npy")}
        for fold_name in sorted(predicted - {path.parents[1].name for path in weights}):
            raise KitError(f"{self.folder / fold_name / last}: its weights are missing: run `make train` again")
        return weights

    def trained(self, recipe: Recipe) -> Trained:
        """Returns the files that the run predicts with.

        Raises:
            KitError: a part is not fully trained, or no thresholds were chosen.
        """
        weights = {part.label: self.part(part).final_weights(part) for part in recipe.parts()}
        stacks = {tta: self.stack(tta=tta) for tta in (True, False)} if recipe.is_gated else {}
        if not all(map(is_file_or_raise, (self.thresholds, *stacks.values()))):
            raise KitError(f"{self.folder}: has no thresholds yet: run `make train` first")
        return Trained(recipe, weights, self.thresholds, stacks)

    def oof(self, fold: int, *, tta: bool = True, role: str = "segment") -> Path:
        """Out-of-fold predictions of a fold's validation images: maps, or with `classify` one probability per image."""
        return self.folder / "oof" / f"fold{fold}{_suffix(tta=tta, role=role)}.npy"

    def predicted_folds(self) -> list[int]:
        """Returns the folds with out-of-fold maps, ascending."""
        numbers = [path.stem.removeprefix("fold") for path in self.folder.glob("oof/fold*.npy")]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def is_predicted(self, part: Recipe, fold: int) -> bool:
        """Whether the OOF predictions of a fold exist, with and without TTA, for a part of the recipe or the whole."""
        return all(self.part(part).oof(fold, tta=tta, role=part.role).is_file() for tta in (True, False))

    def is_trained(self, recipe: Recipe, fold: int) -> bool:
        """Whether every part of the recipe has the last weights and the OOF predictions of a fold."""
        return all(
            self.part(part).weights(fold, len(part.stages) - 1).is_file() and self.is_predicted(part, fold)
            for part in recipe.parts()
        )

    def test(self, *, tta: bool = True, role: str = "segment") -> Path:
        """Predictions of the test images: maps, or with `classify` one probability per image."""
        return self.folder / f"test{_suffix(tta=tta, role=role)}.npy"

    def stack(self, *, tta: bool = True) -> Path:
        """File that says how the classifying members of an ensemble are stacked."""
        return self.folder / f"stack{_suffix(tta=tta)}.json"

    def part(self, part: Recipe) -> "Run":
        """Returns the run of a part of the recipe: a subfolder for a member, otherwise the run itself."""
        return Run(self.folder / part.label) if "/" in part.name else self

    def rule(self, name: str, *, tta: bool = True) -> Path:
        """Folder with the results of the threshold search for one rule."""
        return self.folder / "thresholds" / f"{name}{_suffix(tta=tta)}"

    def finished_stages(self) -> list[tuple[int, int]]:
        """Returns (fold, stage number) of every fully trained stage, in order."""
        paths = (path.relative_to(self.folder) for path in self.folder.glob("fold*/stage*/weights.safetensors"))
        matches = (re.fullmatch(r"fold(\d+)/stage(\d+)/.*", path.as_posix()) for path in paths)  # no copies of folds
        return sorted((int(match[1]), int(match[2]) - 1) for match in matches if match)

    def read_recipe(self) -> Recipe:
        """Reads the recipe of the run.

        Raises:
            KitError: the folder is not a run.
        """
        if not is_file_or_raise(self.recipe_path):
            raise KitError(f"{self.folder}: is not a run (no recipe.yaml): run `make train` first")
        return recipes.load(self.recipe_path)

    def write_recipe(self, recipe: Recipe) -> None:
        """Writes the recipe of the run."""
        write_text(self.recipe_path, recipe.dump())


def _suffix(*, tta: bool, role: str = "segment") -> str:
    return ("-image" if role == "classify" else "") + ("" if tta else "-plain")
