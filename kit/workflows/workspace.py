"""Where things lie: a data set's folder, fold files, caches, runs and submissions."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import phantom
from kit.competition import layout
from kit.core.logs import LogFile
from kit.recipes.schema import Recipe
from kit.run import Run

DEMO = Path("data/demo")
FOLDS, RUNS, SUBMISSIONS, CACHES = Path("folds"), Path("runs"), Path("submissions"), Path("data/cache")


def open_data(folder: Path, allow_missing: bool = True) -> layout.Competition:
    """The competition's folder; the built-in demo is made when it is missing.

    Label rows without an image are an error when folds are made, unless they are allowed there; what comes after
    goes by the fold file, which names the images.
    """
    if folder == DEMO and not folder.exists():
        phantom.write(folder)
    return layout.open_folder(folder, allow_missing)


def fold_file(competition: layout.Competition) -> Path:
    """`folds/NAME.csv` of a data set."""
    return FOLDS / f"{competition.name}.csv"


def run_of(competition: layout.Competition, recipe: Recipe) -> Run:
    """The run of a recipe on a data set."""
    return Run(RUNS / competition.name / recipe.name)


@contextmanager
def logged(run: Run) -> Iterator[None]:
    """What is logged in the block goes to the run's log.txt too."""
    handler = LogFile(run.log)
    logging.getLogger("kit").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("kit").removeHandler(handler)
        handler.close()
