"""The verb `compare`: a comparison of runs on the same data, image by image, as text and as a page."""

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
        names: Names of the runs, or paths of their folders.
        out: Path of the page; default: runs/NAME/compare-RUN-RUN.html.

    Returns:
        The comparison as text, and the path of the page.

    Raises:
        KitError: there are fewer than two runs, a run is missing or not trained, or two runs have no image in common.
    """
    competition = workspace.open_data(data)
    folder = workspace.runs / competition.name
    runs = {Path(name).name: Run(Path(name) if Path(name).is_dir() else folder / name) for name in names}
    if len(runs) < 2:
        raise KitError("give two or more different runs, such as `kit compare exp2 exp5`")
    for run in runs.values():
        if not run.recipe_path.is_file():
            others = ", ".join(sorted(path.parent.name for path in folder.glob("*/recipe.yaml"))) or "none"
            raise KitError(f"{run.folder}: is not a run (no recipe.yaml); runs on {competition.name}: {others}")
    opened = {name: open_run(workspace, data, run.read_recipe(), run) for name, run in runs.items()}
    for opened_run in opened.values():
        check_maps(opened_run)
    measured = {name: cases.measure(run, competition, opened[name].split) for name, run in runs.items()}
    with working("comparing"):
        pairs = comparison.pairs({name: run_cases.table for name, run_cases in measured.items()})
    chosen = {name: thresholds_file.read_measured(run.thresholds).content for name, run in runs.items()}
    overview = pd.DataFrame([_row(name, chosen[name], run_cases) for name, run_cases in measured.items()]).round(4)
    target = Path(out) if out else folder / f"compare-{'-'.join(runs)}.html"
    first, second = list(runs)[:2]
    gallery = live.pack(runs[first], measured[first], competition, (second, measured[second]))
    with working("drawing figures"):
        write_text(target, page.compare(pairs, overview, gallery, target.with_suffix("")))
    headlines = [f"{name}: {summary.headline(scores)}" for name, scores in chosen.items()]
    return "\n".join([*headlines, comparison.text(pairs)]), target


def _row(name: str, chosen: dict[str, Any], run_cases: Cases) -> dict[str, Any]:
    """Returns a run's row of the overview, nested Dice first."""
    low, high = chosen["interval"] or (None, None)
    nested = {"run": name, "nested Dice": chosen["nested_dice"], "from": low, "to": high}
    scores = {heading: chosen[key] for key, heading in thresholds_file.MEASURES.items() if key != "interval"}
    return nested | scores | {"image AUC": cases.image_auc(run_cases)}
