"""The verb `tables`: the paper's tables from the runs of a data set, and its claims as figures."""

from pathlib import Path

from kit.report import claim_figures, tables
from kit.report.cells import Scored
from kit.workflows.workspace import Workspace


def fill(workspace: Workspace, data: Path | str) -> tuple[str, list[Path]]:
    """Fills the tables, and draws the claims whose runs exist into the folder of the runs.

    Args:
        workspace: Where things lie.
        data: The competition's folder.

    Returns:
        The tables as Markdown, and the pictures: PNG with their numbers as CSV beside them.
    """
    competition = workspace.open_data(data)
    runs = workspace.runs / competition.name
    return tables.tables(competition, runs), claim_figures.write(Scored(competition, runs), runs)
