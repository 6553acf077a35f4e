"""The verb `compare`: runs on the same data compared image by image, as text and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kit.core.errors import KitError
from kit.core.files import write_text
from kit.core.progress import working
from kit.inference import thresholds_file
from kit.report import cases, comparison, live, page, summary
from kit.report.cases import Cases
from kit.run import Run
from kit.workflows.workspace import Workspace, check_maps, open_run


def compare(
    workspace: Workspace, data: Path | str, names: Sequence[str], out: Path | str | None = None
) -> tuple[str, Path]:
    """Compares the out-of-fold masks of two or more runs, each by its own rule.

    Args:
        names: Of the runs on it, or paths of their folders.
        out: The page to write; None: runs/NAME/compare-RUN-RUN.html.

    Returns:
        What was found, as text, and the page.

    Raises:
        KitError: fewer than two runs, one that is not there or not trained, or no image in common.
    """
    competition = workspace.open_data(data)
    place = workspace.runs / competition.name
    runs = {Path(name).name: Run(Path(name) if Path(name).is_dir() else place / name) for name in names}
    if len(runs) < 2:
        raise KitError("give two or more different runs, such as `kit compare exp2 exp5`")
    for run in runs.values():
        if not run.recipe_path.is_file():
            there = ", ".join(sorted(path.parent.name for path in place.glob("*/recipe.yaml"))) or "none"
            raise KitError(f"{run.folder}: is not a run (no recipe.yaml); runs on {competition.name}: {there}")
    opened = {name: open_run(workspace, data, run.read_recipe(), run) for name, run in runs.items()}
    for one in opened.values():
        check_maps(one)
    measured = {name: cases.measure(one.run, competition, one.split) for name, one in opened.items()}
    with working("comparing"):
        pairs = comparison.pairs({name: found.table for name, found in measured.items()})
    chosen = {name: thresholds_file.read_measured(run.thresholds).content for name, run in runs.items()}
    overview = pd.DataFrame([_row(name, chosen[name], found) for name, found in measured.items()]).round(4)
    target = Path(out) if out else place / f"compare-{'-'.join(runs)}.html"
    (first, found), (second, others) = list(measured.items())[:2]
    gallery = live.pack(runs[first], found, competition, (second, others))
    with working("drawing figures"):
        write_text(target, page.compare(pairs, overview, gallery, target.with_suffix("")))
    headlines = [f"{name}: {summary.headline(found)}" for name, found in chosen.items()]
    return "\n".join([*headlines, comparison.text(pairs)]), target


def _row(name: str, chosen: dict[str, Any], found: Cases) -> dict[str, Any]:
    """A run's line of the overview: what is nested first."""
    low, high = chosen["interval"] or (None, None)
    nested = {"run": name, "nested Dice": chosen["nested_dice"], "from": low, "to": high}
    scores = {heading: chosen[key] for key, heading in thresholds_file.MEASURES.items() if key != "interval"}
    return nested | scores | {"image AUC": cases.image_auc(found)}
