"""The verb `report`: one HTML page of a run, and every figure of it as a file."""

from pathlib import Path

from kit.data import folds
from kit.recipes.schema import Recipe
from kit.report import page
from kit.submissions import ledger
from kit.workflows.submit import LEDGER
from kit.workflows.workspace import fold_file, open_data, run_of


def report(data: Path, recipe: Recipe) -> Path:
    """Writes the page of a recipe's run on a data set and returns its path.

    Raises:
        KitError: the run is not trained to its thresholds, or lacks a file that the page shows.
    """
    competition = open_data(data)
    split = folds.read(fold_file(competition), competition)
    return page.write(run_of(competition, recipe), competition, split, ledger.entries(LEDGER))
