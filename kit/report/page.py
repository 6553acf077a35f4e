"""Writes report.json, which has every score, case and figure of a run, and the HTML page rendered from it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from kit import lineage
from kit.competition import scoring
from kit.competition.layout import Competition
from kit.core.files import write_text
from kit.core.progress import working
from kit.data.folds import Folds
from kit.inference import thresholds_file
from kit.report import (
    cases,
    comparison,
    detection,
    figures,
    headline,
    leaderboard,
    learning,
    live,
    provenance,
    subgroups,
    surfaces,
)
from kit.report.cases import Cases
from kit.report.comparison import Pair
from kit.report.document import Case, Part, Report
from kit.report.figures import Figure
from kit.run import Run
from kit.submissions.ledger import Entry


def write(run: Run, competition: Competition, split: Folds, entries: Sequence[Entry]) -> Path:
    """Writes report.json and report.html into the run's folder, and every figure (SVG) and cases.csv into report/.

    Returns:
        Path of the page.
    """
    measured = cases.measure(run, competition, split)
    gallery = live.pack(run, measured, competition)
    folder, target = run.folder / "report", run.folder / "report.html"
    with working("drawing figures"):
        report = build(run, measured, competition, entries)
        page = render("page.html", report=report, gallery=gallery, files=f"{folder.name}/")
        write_text(folder / "cases.csv", measured.table.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
        for figure in report.figures():
            figure.write(folder)
        write_text(run.folder / "report.json", report.model_dump_json())
        write_text(target, page)
    return target


def build(run: Run, measured: Cases, competition: Competition, entries: Sequence[Entry]) -> Report:
    """Computes every number of a run's page and draws its figures."""
    recipe, chosen = run.read_recipe(), thresholds_file.read_measured(run.thresholds)
    name, entry = f"{competition.name}/{recipe.name}", leaderboard.of_run(run, entries)
    searches = surfaces.searches(run, measured)
    parts = subgroups.breakdown(measured.table)
    has_both_classes = measured.positive.any() and not measured.positive.all()
    submissions = leaderboard.table(entries, competition.name, name)
    return Report(
        run=name,
        extra=lineage.extra_data(run),
        about=recipe.about,
        measures=headline.measures(run, measured, entry),
        verdict=scoring.verdict(chosen.content, "below"),
        reason=headline.reason(run, searches),
        cases=[Case(**row) for row in figures.records(measured.table)],
        smallest_contour=recipe.threshold.smallest_contour,
        searches=searches,
        parts=parts,
        failures=failures(measured, parts),
        finding=competition.finding.name,
        confusion=detection.confusion(measured),
        detection=[detection.roc(measured), detection.reliability(measured)] if has_both_classes else [],
        learning=learning.sections(run, recipe),
        submissions=submissions,
        leaderboard=leaderboard.scatters(submissions),
        card=provenance.card(run, competition),
    )


def compare(pairs: Sequence[Pair], overview: pd.DataFrame, gallery: dict[str, Any], folder: Path) -> str:
    """Renders the page of a comparison and writes its figures to `folder` as SVG."""
    sections = []
    for pair in pairs:
        groups, extremes = (
            comparison.named(pair, table) for table in (comparison.by_group(pair), comparison.extremes(pair))
        )
        drawn = [comparison.scatter(pair), *([comparison.forest(pair)] if len(groups) else [])]
        for figure in drawn:
            figure.write(folder)
        content = {"wins": pair.wins, "verdict": pair.verdict, "images": len(pair.table), "figures": drawn}
        tables = {"groups": figures.records(groups), "extremes": figures.records(extremes)}
        sections.append(pair._asdict() | content | tables)
    content = {"runs": figures.records(overview), "pairs": sections, "gallery": gallery}
    return render("compare.html", **content, files=f"{folder.name}/")


def failures(measured: Cases, parts: Sequence[Part]) -> list[Figure]:
    """Draws the Dice of each part of all images and of the positive images, and the Dice by area."""
    drawn, positive = [], measured.table[measured.positive]
    # A small set may have no part of more than one image.
    if len(parts) > 1:
        drawn.append(subgroups.forest(parts, "dice-by-part", "All images"))
    if len(positive):
        if len(positive_parts := subgroups.breakdown(positive)) > 1:
            drawn.append(subgroups.forest(positive_parts, "dice-by-part-positives", "Positive images"))
        drawn.append(subgroups.by_area(measured))
    return drawn


def render(template: str, **content: Any) -> str:
    """Renders a template of `assets/` with style and scripts embedded."""
    loader = PackageLoader("kit.report", "assets")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.loader = loader
    environment.filters |= {"cell": cell, "share": share, "embedded": embedded}

    def asset(name: str) -> Markup:
        return Markup(loader.get_source(environment, name)[0])

    environment.globals |= {"asset": asset, "columns": columns}
    return environment.get_template(template).render(content)


def embedded(value: Any) -> Markup:
    """Converts a value to JSON for a script element, with `<` escaped so that no text can end the element."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def columns(rows: Sequence[BaseModel | dict[str, Any]]) -> dict[str, str]:
    """Returns the heading of each column of a table."""
    return {name: name.replace("_", " ") for name in dict(rows[0])}


def cell(value: Any) -> str:
    """Formats a value for a table: scores with four digits, None as a dash.

    >>> cell(0.5), cell(None), cell((0.25, 1.0)), cell(123.456), cell(20560.4), cell(True)
    ('0.5000', '–', '0.2500 – 1.0000', '123.5', '20560', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return " – ".join(map(cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def share(value: float | None) -> str:
    """Formats a share in per cent, None as a dash.

    >>> share(0.217)
    '21.7 %'
    """
    return "–" if value is None else f"{100 * value:.1f} %"
