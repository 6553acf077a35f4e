"""Verbs to look at what runs make of images: `report`, `compare` and `view`."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import app, verb
from kit.cli.options import DEMO, Data, Overrides, RecipeName, load_recipe
from kit.cli.spelling import say
from kit.core.progress import working
from kit.workflows.workspace import Workspace


@verb(app, "report", ["kit report", "kit report --data ../siim --recipe exp5"])
def write_report(*, data: Data = DEMO, recipe: RecipeName = None, overrides: Overrides) -> None:
    """Write one self-contained HTML page of a run, its numbers as report.json, and its figures as SVG."""
    with working("loading"):
        from kit.report import surfaces
        from kit.workflows import report

    page = report.report(Workspace(), data, load_recipe(data, recipe, overrides))
    say(page)
    if verdict := surfaces.verdict([page.parent], page):
        say(verdict)


@verb(app, "compare", ["kit compare exp2 exp5 --data ../siim"])
def compare_runs(
    *,
    runs: Annotated[list[str], typer.Argument(help="Names of two or more runs of the data set, or their folders.")],
    data: Data = DEMO,
    out: Annotated[Path | None, typer.Option(help="The page; default: runs/NAME/compare-RUN-RUN.html.")] = None,
) -> None:
    """Compare runs image by image: who wins where, with intervals, as text and as a page."""
    with working("loading"):
        from kit.workflows import compare

    text, page = compare.compare(Workspace(), data, runs, out)
    say(f"{text}\n{page}")


@verb(app, "view", ["kit view IMAGE --data ../siim --recipe exp5"])
def view_images(
    *,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Ids of images, or paths of their DICOM files.")],
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures; default: view/ of the run.")] = None,
) -> None:
    """Draw images with their truth and the mask that a run predicts, as PNG."""
    from kit.workflows import view

    for picture in view.view(Workspace(), data, load_recipe(data, recipe, overrides), images, out):
        say(picture)
