"""The verb `report`: an HTML page of a run, and each of its figures as a file."""

from pathlib import Path

from kit.core.files import set_aside
from kit.recipes.schema import Recipe
from kit.report import page
from kit.submissions import ledger
from kit.workflows.workspace import Workspace, check_maps, open_run


def report(workspace: Workspace, data: Path | str, recipe: Recipe) -> Path:
    """Writes the page of a recipe's run on a data set and returns its path.

    Raises:
        KitError: the run has no thresholds yet, its data or recipe have changed since the training, or a file is
            missing.
    """
    opened = open_run(workspace, data, recipe)
    set_aside(opened.run.folder / "report.html")
    check_maps(opened)
    return page.write(opened.run, opened.competition, opened.split, ledger.entries(workspace.ledger))
