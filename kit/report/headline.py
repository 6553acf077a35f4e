"""The first thing that a reader sees: what a run scores, and what that is to be compared with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from kit.competition import submission
from kit.core.files import sha256
from kit.inference import rules, thresholds_file
from kit.report import cases, figures
from kit.report.cases import Cases
from kit.report.figures import Figure
from kit.run import Run
from kit.submissions.ledger import Entry


class Measure(NamedTuple):
    """A figure with its name and what it means."""

    name: str
    value: str
    note: str


def measures(run: Run, found: Cases, entry: Entry | None) -> list[Measure]:
    """The figures of the headline, the competition's own first.

    Args:
        run: With thresholds.
        found: Its cases.
        entry: Its submission in the ledger, if there is one.
    """
    chosen, summary = thresholds_file.read_measured(run.thresholds), cases.summary(found)
    old = entry is not None and run.submission.is_file() and entry.sha256 != sha256(run.submission)
    ledger = f"leaderboard, from the ledger{', of an earlier submission' if old else ''}"
    shares = {"out of fold": chosen.get("masked"), "test set": test_share(run)}
    return [
        Measure("Nested Dice", text(chosen["nested_dice"]), nested_note(chosen)),
        Measure("All-empty baseline", text(chosen["dice_all_empty"]), "what a submission without any mask scores here"),
        Measure("Dice on positives", text(chosen["dice_positives"]), "images with a pneumothorax alone, nested"),
        Measure("Negatives kept empty", text(chosen["negatives_empty"]), "share of the images without one, nested"),
        Measure(
            "Apparent Dice",
            text(chosen["apparent_dice"]),
            "by this rule on the images that it was chosen on: flattering",
        ),
        Measure("Image AUC", text(summary["image_auc"]), "pneumothorax or not, by the out-of-fold probability"),
        Measure("Public", text(entry.public if entry else None), ledger),
        Measure("Private", text(entry.private if entry else None), ledger),
        Measure(
            "Images with a mask",
            percent(shares["out of fold"]),
            f"out of fold; {percent(shares['test set'])} of the test set",
        ),
    ]


def nested_note(chosen: dict[str, Any]) -> str:
    """What the nested Dice of a thresholds.json is, with its interval."""
    if chosen["interval"] is None:
        return "not known: all images are of one patient"
    low, high = chosen["interval"]
    what = "rule and thresholds" if len(chosen["rules"]) > 1 else "thresholds"
    by = f"each fold by {what} of the others" if chosen["rules"] else "by the recipe's own thresholds"
    return f"95 % interval {low:.4f} to {high:.4f}; out of fold, {by}"


def of_run(run: Run, entries: Sequence[Entry]) -> Entry | None:
    """The scored submission of a run: of its present submission.csv, else the last one scored; None without one."""
    name = f"{run.folder.parent.name}/{run.folder.name}"
    own = [entry for entry in entries if entry.run == name and (entry.public is not None or entry.private is not None)]
    digest = sha256(run.submission) if run.submission.is_file() else None
    return next((entry for entry in own if entry.sha256 == digest), own[-1] if own else None)


def test_share(run: Run) -> float | None:
    """Share of the test images that get a mask in the run's submission; None without one."""
    if not run.submission.is_file():
        return None
    masks = submission.read(run.submission)
    return sum(mask != "-1" for mask in masks.values()) / len(masks)


def searches(run: Run) -> pd.DataFrame:
    """What the search found for each rule, with and without TTA; the best nested Dice first.

    The recipe's own thresholds, which nobody searched, are not among them.

    Returns:
        Columns rule, tta, thresholds, nested, low, high, dice_positives, negatives_empty, apparent, used.
    """
    recipe, chosen = run.read_recipe(), thresholds_file.read_measured(run.thresholds)
    rows = []
    paths = [(run.rule(name, tta) / "thresholds.json", tta) for name in sorted(rules.RULES) for tta in (True, False)]
    for path, tta in paths:
        if not path.is_file():
            continue
        found = thresholds_file.read_measured(path)
        rows.append(
            {
                "rule": found["rule"],
                "tta": tta,
                "thresholds": thresholds(found),
                "nested": found["nested_dice"],
                **dict(zip(("low", "high"), found["interval"] or (None, None), strict=True)),
                "dice_positives": found["dice_positives"],
                "negatives_empty": found["negatives_empty"],
                "apparent": found["apparent_dice"],
                "used": found["rule"] == thresholds_file.search_of(chosen) and tta == recipe.tta,
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values(["nested", "apparent"], ascending=False, ignore_index=True) if rows else table


def thresholds(found: dict[str, Any]) -> str:
    """The thresholds of a thresholds.json, in words."""
    parts = [f"{key} {found[key]:.3f}" for key in ("top", "binarization", "gate") if key in found]
    parts += [f"removal {found['removal']}"] if "removal" in found else []
    return ", ".join(parts) or "decided image by image"


def reason(run: Run) -> str:
    """Which rule the run uses and why, and where its share of masks counts."""
    table, chosen = searches(run), thresholds_file.read_measured(run.thresholds)
    own = thresholds_file.search_of(chosen) == "fixed"
    by = "the recipe's own thresholds" if own else f"the rule “{chosen['rule']}”"
    text = f"The masks are those of {by} ({thresholds(chosen)})"
    same = table[table.tta == run.read_recipe().tta] if len(table) else table
    if len(same) > 1 and not own:
        best, second = same.iloc[0], same.iloc[1]
        if best.rule == chosen["rule"] and not (pd.isna(best.nested) or pd.isna(second.nested)):
            gap = best.nested - second.nested
            text += f": of {len(same)} rules it has the highest nested Dice, {gap:.4f} above “{second.rule}”"
    if chosen.get("share") is None:
        return f"{text}."
    return (
        f"{text}. Of a test set, the {percent(chosen['share'])} of the images with the most evidence get a mask, and "
        "the nested Dice is of folds treated so; the figures of single images below are by the rule's own thresholds."
    )


@figures.styled
def ladder(run: Run, entry: Entry | None) -> Figure:
    """All scores on one scale, with the interval of the nested Dice."""
    chosen = thresholds_file.read_measured(run.thresholds)
    scores = {
        "all-empty": chosen["dice_all_empty"],
        "nested": chosen["nested_dice"],
        "apparent": chosen["apparent_dice"],
        "public": entry and entry.public,
        "private": entry and entry.private,
    }
    there = {name: score for name, score in scores.items() if score is not None}
    figure, axes = figures.draw(height=0.9 + 0.34 * len(there))
    places = {name: -place for place, name in enumerate(there)}
    low, high = chosen["interval"] or (chosen["apparent_dice"],) * 2
    axes.axvspan(low, high, color=figures.colour(0), alpha=0.13, linewidth=0)
    for name, score in there.items():
        colour = (
            figures.MUTED
            if name in ("all-empty", "apparent")
            else figures.colour(1 if name in ("public", "private") else 0)
        )
        axes.hlines(places[name], 0, score, color=figures.GRID, linewidth=1)
        axes.plot(score, places[name], "o", color=colour, markersize=8)
        axes.annotate(
            f"{score:.4f}", (score, places[name]), (7, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(list(places.values()), list(places))
    left = min(low, *there.values())
    axes.set_xlim(max(0, left - 0.1 * (1 - left)), 1 + 0.25 * (1 - left))
    axes.set_xticks([tick for tick in axes.get_xticks() if left - 0.1 * (1 - left) <= tick <= 1])
    axes.set_ylim(-len(there) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean Dice; shaded: 95 % interval of the nested Dice")
    alt = ", ".join(f"{name} {score:.4f}" for name, score in there.items()) + "."
    return figures.finish(
        figure, "scores", "Scores on one scale", alt, pd.DataFrame(there.items(), columns=["score", "dice"])
    )


def text(value: float | None) -> str:
    """A score with four digits, or a dash.

    >>> text(0.5), text(None)
    ('0.5000', '–')
    """
    return "–" if value is None else f"{value:.4f}"


def percent(share: float | None) -> str:
    """A share in per cent, or a dash.

    >>> percent(0.217)
    '21.7 %'
    """
    return "–" if share is None else f"{100 * share:.1f} %"
