"""The layout of the working folder: data, folds, runs, caches and submissions.

Modules that read images are imported where they are needed, so that verbs without images, such as `scores`, start fast.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import KitError
from kit.core.logs import LogFile

if TYPE_CHECKING:
    from kit.competition.layout import Competition
    from kit.data.folds import Folds
    from kit.recipes.schema import Recipe
    from kit.run import Run

log = logging.getLogger(__name__)


class Workspace:
    """Paths in a folder with all files of the kit, by default the working folder.

    >>> Workspace().runs
    PosixPath('runs')
    """

    def __init__(self, root: Path | str = "") -> None:
        self.root = Path(root)
        self.demo = self.root / "data" / "demo"  # the built-in competition, see `draw_demo`
        self.folds = self.root / "folds"  # fold files
        self.runs = self.root / "runs"  # runs, with one folder per data set
        self.submissions = self.root / "submissions"  # submissions worth keeping, with one folder per data set
        self.ledger = self.submissions / "ledger.jsonl"  # record of all submissions
        self.predictions = self.root / "predictions"  # predictions of images other than the test images

    def draw_demo(self, folder: Path | str) -> None:
        """Draws the built-in demo if `folder` is its folder and is missing, for verbs with which newcomers begin."""
        if Path(folder) == self.demo and not self.demo.exists():
            from kit import phantom

            phantom.write(self.demo)

    def open_data(self, folder: Path | str, *, allow_missing: bool = True) -> "Competition":
        """Opens a competition's folder.

        Label rows without an image are an error only when folds are made; later verbs take the images from the fold
        file.
        """
        from kit.competition import layout

        if Path(folder) == self.demo and not self.demo.exists():
            raise KitError(f"{folder}: there is no demo yet: `make folds train` draws it and trains on it")
        return layout.open_folder(folder, allow_missing=allow_missing)

    def run(self, competition: "Competition", recipe: "Recipe | str") -> "Run":
        """Returns the run of a recipe, or of the run's name, on a data set."""
        from kit.run import Run

        return Run(self.runs / competition.name / (recipe if isinstance(recipe, str) else recipe.name))

    def cache(self, competition: "Competition") -> Path:
        """Returns the folder of a data set's cached training images."""
        return self.root / "data" / "cache" / competition.name

    def fold_file(self, competition: "Competition", recipe: "Recipe") -> Path:
        """Returns the fold file of a recipe's split (`folds.file_of`), else the user's own `NAME.csv`."""
        from kit.data import folds

        split = folds.Split(recipe.folds.count, recipe.folds.holdout, recipe.folds.seed)
        path, first = folds.file_of(self.folds, competition.name, split), self.folds / f"{competition.name}.csv"
        if path.is_file():
            return path
        if first.is_file() and folds.is_user_supplied(first):
            return first
        other = f" ({first} has {folds.split_of(first)})" if first.is_file() else ""
        raise KitError(
            f"{path}: there are no folds yet of {recipe.name}, {split}{other}: run `make folds` with this recipe first"
        )


@dataclass(frozen=True)
class OpenRun:
    """A trained run and its data, after checking that the run was trained on the data."""

    run: "Run"
    recipe: "Recipe"
    competition: "Competition"
    split: "Folds"
    image_keys: tuple[bytes, ...]
    """Hash of each training image and its label rows."""


def open_run(workspace: Workspace, data: Path | str, recipe: "Recipe", run: "Run | None" = None) -> OpenRun:
    """Opens the run of a recipe on a data set, for verbs that follow a training.

    Args:
        run: Default: the recipe's run on the data.

    Raises:
        KitError: there is no such run, or the recipe, data or folds differ from those that it was trained with.
    """
    from kit import lineage
    from kit.data import cache, folds

    competition = workspace.open_data(data)
    run = run or workspace.run(competition, recipe)
    lineage.require_same_recipe(run, recipe)
    path = workspace.folds / lineage.read_inputs(run).fold_file
    split = folds.read(path, competition)
    keys = cache.image_keys(competition)
    lineage.check_inputs(run, lineage.inputs_of(keys, path))
    return OpenRun(run, recipe, competition, split, keys)


def check_maps(opened: OpenRun) -> None:
    """Checks that the out-of-fold predictions were made from the run's weights and images by today's quantiser."""
    from kit.core.store import keys_path, read_keys
    from kit.inference import maps, predictions

    key_by_id = dict(zip(opened.competition.train, opened.image_keys, strict=True))
    for part in opened.recipe.parts():
        run = opened.run.part(part)
        for fold in opened.split.numbers:
            weights = run.stage_weights(fold, len(part.stages) - 1)
            for path in (run.oof(fold, tta=tta, role=part.role) for tta in (True, False)):
                if not (path.is_file() and keys_path(path).is_file() and weights):
                    raise KitError(f"{path}: there are no out-of-fold maps of every fold yet: run `make train` first")
                ids = maps.read_ids(path)
                expected = predictions.row_keys(weights, [key_by_id.get(image_id, b"") for image_id in ids])
                if read_keys(path) != expected:
                    raise KitError(
                        f"{path}: was not predicted from these weights and images by this version of the kit: run "
                        "`make train` to predict it again"
                    )


@contextmanager
def logged(run: "Run") -> Iterator[None]:
    """Also writes log messages of the block to the run's log.txt."""
    handler = LogFile(run.log)
    logging.getLogger("kit").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("kit").removeHandler(handler)
        handler.close()


def record(run: "Run", result: str) -> None:
    """Writes the printed result of a verb to the run's log.txt, too."""
    handler = LogFile(run.log)
    handler.emit(logging.makeLogRecord({"msg": result}))
    handler.close()
