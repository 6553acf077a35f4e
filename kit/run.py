"""A run: one recipe on one data set, and where each of its artefacts lies (`runs/NAME/RECIPE/`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit import recipes
from kit.core.errors import KitError
from kit.core.files import read_json, write_json, write_text
from kit.recipes.schema import Recipe

# What may change in a trained run: it is read only after the training.
AFTER_TRAINING = {"about", "tta", "prevalence", "threshold.transfer"}


@dataclass(frozen=True)
class Run:
    """Paths of a run's artefacts, relative to nothing but its folder."""

    folder: Path

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.folder / "recipe.yaml"

    @property
    def inputs(self) -> Path:
        """Hashes of the data that the run was begun with."""
        return self.folder / "inputs.json"

    @property
    def thresholds(self) -> Path:
        """The chosen rule and its parameters."""
        return self.folder / "thresholds.json"

    @property
    def surface(self) -> Path:
        """Mean OOF Dice at each point of the chosen rule's grid."""
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
        """The averaged weights of a stage."""
        return self.stage(fold, number) / "weights.safetensors"

    def final_weights(self, recipe: Recipe) -> list[Path]:
        """The weights of each trained fold's last stage.

        Raises:
            KitError: no fold has been trained to its end, or the run is an ensemble.
        """
        if recipe.members:
            members = ", ".join(f"{self.folder.name}/{name}" for name in recipe.members)
            raise KitError(f"{self.folder}: is an ensemble: its weights are those of {members}")
        last = f"stage{len(recipe.stages)}"
        found = sorted(self.folder.glob(f"fold*/{last}/weights.safetensors"))
        if not found:
            raise KitError(f"{self.folder}: no fold is trained to the end of {last}: run `make train` first")
        predicted = {path.stem.split("-")[0] for path in self.folder.glob("oof/fold*.npy")}
        for lacking in sorted(predicted - {path.parents[1].name for path in found}):
            raise KitError(f"{self.folder / lacking / last}: its weights are missing: run `make train` again")
        return found

    def networks(self, recipe: Recipe) -> dict[str, list[Path]]:
        """The weights to predict with, by the member's name; of a recipe without members under the name ""."""
        return {name: self.member(name).final_weights(part) for name, part in recipe.parts().items()}

    def oof(self, fold: int, tta: bool = True, role: str = "segment") -> Path:
        """Out-of-fold predictions of a fold's validation part: maps, or for `classify` a probability an image."""
        return self.folder / "oof" / f"fold{fold}{_kind(role)}{_suffix(tta)}.npy"

    def predicted_folds(self) -> list[int]:
        """The folds that have out-of-fold maps, ascending."""
        found = [path.stem.removeprefix("fold") for path in self.folder.glob("oof/fold*.npy")]
        return sorted(int(number) for number in found if number.isdecimal())

    def test(self, tta: bool = True, role: str = "segment") -> Path:
        """Predictions of the test images: maps, or for `classify` a probability an image."""
        return self.folder / f"test{_kind(role)}{_suffix(tta)}.npy"

    def stack(self, tta: bool = True) -> Path:
        """How an ensemble's classifying members are put together."""
        return self.folder / f"stack{_suffix(tta)}.json"

    def member(self, name: str) -> "Run":
        """The run of an ensemble's member; of the name "" the run itself."""
        return Run(self.folder / name)

    def rule(self, name: str, tta: bool = True) -> Path:
        """Folder of what the threshold search found for one rule."""
        return self.folder / "thresholds" / f"{name}{_suffix(tta)}"

    def trained(self) -> list[tuple[int, int]]:
        """(fold, stage number) of every stage that is trained to its end, in order."""
        found = [path.parent for path in self.folder.glob("fold*/stage*/weights.safetensors")]
        return sorted((int(path.parent.name[4:]), int(path.name[5:]) - 1) for path in found)

    def read_recipe(self) -> Recipe:
        """The recipe of the run.

        Raises:
            KitError: the folder holds no run.
        """
        if not self.recipe_path.is_file():
            raise KitError(f"{self.folder}: is not a run (no recipe.yaml): run `make train` first")
        return recipes.read(self.recipe_path)

    def start(self, fold: int, made_from: dict) -> Path:
        """The last weights of a fold, for another recipe to start from.

        Args:
            fold: Number of the fold.
            made_from: Hashes of the data of the run that starts.

        Raises:
            KitError: the fold is not trained to its end, or was trained on other data or folds.
        """
        recipe = self.read_recipe()
        if recipe.members:
            first = next(iter(recipe.members))
            raise KitError(f"{self.folder}: is an ensemble: start from one of its members, start={recipe.name}/{first}")
        last = self.weights(fold, len(recipe.stages) - 1)
        if not last.is_file():
            raise KitError(
                f"{self.folder}: fold {fold} is not trained to its end: run `make train` of this recipe first"
            )
        stale = self._stale(made_from)
        if stale:
            raise KitError(
                f"{self.folder}: was trained with other {' and '.join(stale)}: train it anew to start from it"
            )
        return last

    def _stale(self, made_from: dict) -> list[str]:
        """Names of the data that are no longer what the run was begun with."""
        known = read_json(self.inputs)
        return [name for name, value in made_from.items() if known.get(name, value) != value]

    def agree(self, wanted: Recipe) -> None:
        """Holds a recipe against the one that the run was begun with.

        Raises:
            KitError: they differ in what matters to the training.
        """
        changed = _differences(self.read_recipe(), wanted)
        if changed:
            raise KitError(
                f"{self.folder}: was begun with other settings ({'; '.join(changed)}): give those that it was trained "
                f"with, remove {self.folder}, or give another run another name with SET='name=…'"
            )

    def begin(self, wanted: Recipe, made_from: dict) -> None:
        """Writes what the run is, or holds it against what it was begun as.

        Args:
            wanted: The recipe to train.
            made_from: Hashes of the data that the run depends on.

        Raises:
            KitError: another recipe or other data were trained here.
        """
        if self.recipe_path.is_file() and self.inputs.is_file():
            self.agree(wanted)
            stale = self._stale(made_from)
            if stale:
                raise KitError(
                    f"{self.folder}: was begun with other {' and '.join(stale)}: remove {self.folder}, or give the run "
                    "another name with SET='name=…'"
                )
            made_from = read_json(self.inputs) | made_from
        write_json(self.inputs, made_from)
        write_text(self.recipe_path, wanted.dump())


def _kind(role: str) -> str:
    return "-image" if role == "classify" else ""


def _suffix(tta: bool) -> str:
    return "" if tta else "-plain"


def _differences(old: Recipe, new: Recipe) -> list[str]:
    """Keys that differ and matter to the training, each with both values."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and AFTER_TRAINING.isdisjoint((key, key.split(".")[0]))
    ]


def _flat(value: Any, path: str = "") -> dict:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            key: leaf
            for name, part in items
            for key, leaf in _flat(part, f"{path}.{name}" if path else str(name)).items()
        }
    return {path: value}
