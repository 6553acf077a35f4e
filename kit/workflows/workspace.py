"""Where things lie: the one object that knows the folders of data, folds, runs, caches and submissions.

What reads images is loaded where it is needed, so that a verb which needs none, such as `scores`, starts at once.
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


@dataclass(frozen=True)
class Workspace:
    """A folder with everything of the kit in it; by default the working folder.

    >>> Workspace().runs
    PosixPath('runs')
    """

    root: Path = Path()

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    @property
    def demo(self) -> Path:
        """The built-in competition, see `draw_demo`."""
        return self.root / "data" / "demo"

    @property
    def folds(self) -> Path:
        """Fold files."""
        return self.root / "folds"

    @property
    def runs(self) -> Path:
        """Runs, in a folder a data set."""
        return self.root / "runs"

    @property
    def submissions(self) -> Path:
        """Submissions worth keeping, in a folder a data set, and the ledger."""
        return self.root / "submissions"

    @property
    def ledger(self) -> Path:
        """What was submitted where."""
        return self.submissions / "ledger.jsonl"

    @property
    def predictions(self) -> Path:
        """Predictions of other folders than the test images."""
        return self.root / "predictions"

    def draw_demo(self, folder: Path | str) -> None:
        """Draws the built-in demo where it is the folder and is missing: for verbs that a newcomer may begin with."""
        if Path(folder) == self.demo and not self.demo.exists():
            from kit import phantom

            phantom.write(self.demo)

    def open_data(self, folder: Path | str, *, allow_missing: bool = True) -> "Competition":
        """Opens a competition's folder.

        Label rows without an image are an error when folds are made, unless they are allowed there; what comes after
        goes by the fold file, which names the images.
        """
        from kit.competition import layout

        if Path(folder) == self.demo and not self.demo.exists():
            raise KitError(f"{folder}: there is no demo yet: `make folds train` draws it and trains on it")
        return layout.open_folder(folder, allow_missing)

    def run(self, competition: "Competition", recipe: "Recipe | str") -> "Run":
        """The run of a recipe, or of that name, on a data set."""
        from kit.run import Run

        return Run(self.runs / competition.name / (recipe if isinstance(recipe, str) else recipe.name))

    def cache(self, competition: "Competition") -> Path:
        """Folder of a data set's decoded training images."""
        return self.root / "data" / "cache" / competition.name

    def fold_file(self, competition: "Competition", recipe: "Recipe") -> Path:
        """The fold file that a recipe trains on: its split's, see `folds.file_of`, else the user's own `NAME.csv`."""
        from kit.data import folds

        split = folds.Split(recipe.folds.count, recipe.folds.holdout, recipe.folds.seed)
        path, first = folds.file_of(self.folds, competition.name, split), self.folds / f"{competition.name}.csv"
        if path.is_file():
            return path
        if first.is_file() and folds.is_user_supplied(first):
            return first
        there = f" ({first} has {folds.made_as(first)})" if first.is_file() else ""
        raise KitError(
            f"{path}: there are no folds yet of {recipe.name}, {split}{there}: run `make folds` with this recipe first"
        )


@dataclass(frozen=True)
class OpenRun:
    """A trained run with its data, checked to be what it was trained as."""

    run: "Run"
    recipe: "Recipe"
    competition: "Competition"
    split: "Folds"
    image_keys: tuple[bytes, ...]
    """What each training image and its label rows are by their content."""


def open_run(workspace: Workspace, data: Path | str, wanted: "Recipe", run: "Run | None" = None) -> OpenRun:
    """Opens the run of a recipe on a data set, for any verb that follows a training.

    Args:
        run: The run; None: that of the recipe on the data.

    Raises:
        KitError: there is no such run, or its recipe, data, folds or weights are no longer those that it was trained
            with; it says which.
    """
    from kit import lineage
    from kit.data import cache, folds

    competition = workspace.open_data(data)
    run = run or workspace.run(competition, wanted)
    lineage.require_same_recipe(run, wanted)
    path = workspace.folds / lineage.read_inputs(run).fold_file
    split = folds.read(path, competition)
    keys = cache.image_keys(competition)
    lineage.check_inputs(run, lineage.inputs_of(keys, path))
    return OpenRun(run, wanted, competition, split, keys)


def check_maps(opened: OpenRun) -> None:
    """Check that the run's out-of-fold predictions are those of its weights, its images and today's quantiser."""
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
    """What is logged in the block goes to the run's log.txt too."""
    handler = LogFile(run.log)
    logging.getLogger("kit").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("kit").removeHandler(handler)
        handler.close()


def record(run: "Run", result: str) -> None:
    """Writes what a verb will print, its result, to the run's log.txt."""
    handler = LogFile(run.log)
    handler.emit(logging.makeLogRecord({"msg": result}))
    handler.close()
