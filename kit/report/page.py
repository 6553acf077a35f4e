"""One self-contained HTML page of a run: what it scores, case by case, where it fails, how it learned, what it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kit.competition.layout import Competition
from kit.core.files import write_text
from kit.data.folds import Folds
from kit.inference import rules, thresholds_file
from kit.inference.rules import ExpectedRule
from kit.report import (
    calibration,
    cases,
    comparison,
    detection,
    headline,
    leaderboard,
    learning,
    live,
    provenance,
    stats,
    subgroups,
    surfaces,
)
from kit.report.cases import Cases
from kit.report.comparison import Pair
from kit.report.figures import Figure
from kit.run import Run
from kit.submissions.ledger import Entry


@dataclass
class Book:
    """The figures of a page in the order in which it takes them, each written to a folder as it comes."""

    folder: Path
    names: list[str] = field(default_factory=list)

    def add(self, figures: Sequence[Figure | None]) -> list[Figure]:
        """Writes the figures that there are, and gives them back."""
        there = [figure for figure in figures if figure is not None]
        for figure in there:
            figure.write(self.folder)
            self.names.append(figure.name)
        return there


def write(run: Run, competition: Competition, split: Folds, entries: Sequence[Entry]) -> Path:
    """Writes report.html into the run's folder, and into report/ every figure as SVG, PNG and CSV, and cases.csv.

    Args:
        run: Trained, with thresholds.
        competition: Its data.
        split: Its folds.
        entries: The ledger's submissions.

    Returns:
        The page.

    Raises:
        KitError: the run lacks a file that the page shows.
    """
    folder = run.folder / "report"
    found = cases.measure(run, competition, split)
    cases.write(found, folder / "cases.csv")
    book, recipe = Book(folder), run.read_recipe()
    entry = headline.of_run(run, entries)
    parts, positives = (subgroups.breakdown(table) for table in (found.table, found.table[found.positive]))
    board = leaderboard.table(entries, competition.name)
    name = f"{competition.name}/{recipe.name}"
    page = render(
        "page.html",
        title=f"{recipe.name} on {competition.name}",
        about=recipe.about,
        files=f"{folder.name}/",
        recipe=recipe.dump(),
        measures=headline.measures(run, found, entry),
        reason=headline.reason(run),
        headline_figures=book.add([headline.ladder(run, entry)]),
        gallery=live.pack(run, found, competition),
        images=len(found.table),
        smallest_contour=recipe.threshold.smallest_contour,
        searches=headline.searches(run),
        thresholds=thresholds(run, found, book),
        groups=parts,
        failure_figures=failures(parts, positives, found, book),
        confusion=detection.confusion(found),
        detection_figures=book.add([detection.roc(found), detection.reliability(found)] if _both(found) else []),
        learning=learnings(run, split, book),
        board=board,
        board_figures=book.add(leaderboard.scatters(board, name)),
        this_run=name,
        overview=stats.overview(competition),
        breakdown=stats.breakdown(stats.metadata(competition)),
        intended=provenance.intended(competition),
        not_for=provenance.NOT_FOR,
        licence=provenance.licence(competition),
        software=provenance.software(),
        machine=provenance.machine(),
        hashes=provenance.hashes(run),
    )
    target = run.folder / "report.html"
    write_text(target, page)
    return target


def compare(pairs: Sequence[Pair], overview: pd.DataFrame, folder: Path) -> str:
    """The page of a comparison, its figures written to `folder` as SVG, PNG and CSV.

    Args:
        pairs: Every two of the runs.
        overview: A row a run.
        folder: Beside the page.
    """
    book, sections = Book(folder), []
    for pair in pairs:
        figures = book.add([comparison.scatter(pair), comparison.forest(pair)])
        content = {"figures": figures, "groups": comparison.by_group(pair), "extremes": comparison.extremes(pair)}
        sections.append({**pair._asdict(), "wins": pair.wins, "verdict": pair.verdict, **content})
    names = ", ".join(overview.run)
    return render(
        "compare.html", title=f"Comparison of {names}", runs=overview, pairs=sections, files=f"{folder.name}/"
    )


def failures(parts: pd.DataFrame, positives: pd.DataFrame, found: Cases, book: Book) -> list[Figure]:
    """Where the run fails: of all images, and where there are positives, of these alone."""
    tables = (
        (parts, "dice-by-part", "All images"),
        (positives, "dice-by-part-positives", "Images with a pneumothorax"),
    )
    # Of a few images no part may be large enough to stand beside all of them.
    drawn = [subgroups.forest(table, name, title) for table, name, title in tables if len(table) > 1]
    if found.positive.any():
        drawn.append(subgroups.by_area(found))
    return book.add(drawn)


def thresholds(run: Run, found: Cases, book: Book) -> list[dict[str, Any]]:
    """The figures of each rule that was searched on the maps that the run predicts with, the one in use first."""
    chosen = thresholds_file.search_of(thresholds_file.read_measured(run.thresholds))
    tta = run.read_recipe().tta
    names = [name for name in rules.RULES if (run.rule(name, tta) / "thresholds.json").is_file()]
    sections = []
    for name in sorted(names, key=lambda name: name != chosen):
        folder, prefix = run.rule(name, tta), f"{name}-"
        inner = rules.bare(rules.read(folder / "thresholds.json"))
        if isinstance(inner, ExpectedRule):
            figures = [calibration.foreground(inner, prefix), calibration.decisions(inner, found, prefix)]
        else:
            figures = [*surfaces.heat_maps(folder, prefix), *surfaces.slices(folder, prefix)]
        sections.append(
            {
                "name": name,
                "used": name == chosen,
                "figures": book.add(figures),
                **thresholds_file.read_measured(folder / "thresholds.json"),
            }
        )
    return sections


def learnings(run: Run, split: Folds, book: Book) -> list[dict[str, Any]]:
    """Curves and speed of each network of the run."""
    sections = []
    recipe = run.read_recipe()
    for part in recipe.parts():
        own, name = run.part(part), part.label if recipe.members else ""
        history = learning.history(own)
        if len(history):
            prefix = f"{name}-" if name else ""
            curves = book.add([learning.curve(history, measure, prefix) for measure in learning.MEASURES])
            sections.append({"name": name, "figures": curves, "speed": learning.speed(own, part, split)})
    return sections


def render(template: str, **content: Any) -> str:
    """A page from one of the templates in `assets/`, with its style and scripts inside."""
    loader = PackageLoader("kit.report", "assets")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "share": headline.percent, "embedded": embedded, "cell": _cell}
    environment.globals |= {"asset": lambda name: Markup(loader.get_source(environment, name)[0])}
    return environment.get_template(template).render(content)


def embedded(value: Any) -> Markup:
    """A value as JSON that may stand in a script element: nothing in it ends the element."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _score(value: float | None) -> str:
    return headline.text(None if value is None or pd.isna(value) else value)


def _cell(value: Any) -> str:
    """A table's cell: numbers short, nothing as a dash."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _both(found: Cases) -> bool:
    return bool(found.positive.any() and not found.positive.all())
