"""The first thing that a reader sees: what a run scores, and what that is to be compared with."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from kit.competition import submission
from kit.core.files import sha256
from kit.inference import thresholds_file
from kit.report import cases, figures, summary
from kit.report.cases import Cases
from kit.report.document import Measure, Search
from kit.report.figures import Drawn
from kit.report.surfaces import NO_THRESHOLDS
from kit.run import Run
from kit.submissions.ledger import Entry


def measures(run: Run, found: Cases, entry: Entry | None) -> list[Measure]:
    """The figures of the headline, the competition's own first."""
    chosen = thresholds_file.read_measured(run.thresholds)
    old = entry is not None and run.submission.is_file() and entry.sha256 != sha256(run.submission)
    ledger = f"leaderboard, from the ledger{', of an earlier submission' if old else ''}"
    share = test_share(run)
    of_test = "no submission yet" if share is None else f"{100 * share:.1f} % of the test set"
    rows: list[tuple[str, float | None, str]] = [
        ("Nested Dice", chosen["nested_dice"], nested_note(chosen)),
        ("All-empty baseline", chosen["dice_all_empty"], "what a submission without any mask scores here"),
        ("Dice on positives", chosen["dice_positives"], "images with a pneumothorax alone, nested"),
        ("Negatives kept empty", chosen["negatives_empty"], "share of the images without one, nested"),
        ("Apparent Dice", chosen["apparent_dice"], "by this rule on the images that it was chosen on: flattering"),
        ("Image AUC", cases.image_auc(found), "pneumothorax or not, by the out-of-fold probability"),
        ("Public", entry.public if entry else None, ledger),
        ("Private", entry.private if entry else None, ledger),
    ]
    masked = Measure(
        name="Images with a mask", value=chosen.get("masked"), note=f"out of fold; {of_test}", kind="share"
    )
    return [*(Measure(name=name, value=value, note=note) for name, value, note in rows), masked]


def nested_note(chosen: dict[str, Any]) -> str:
    """What the nested Dice of a thresholds.json is, with its interval."""
    if chosen["interval"] is None:
        return "not known: all images are of one patient"
    low, high = chosen["interval"]
    what = "rule and thresholds" if len(chosen["rules"]) > 1 else "thresholds"
    by = f"each fold by {what} of the others" if chosen["rules"] else "by the recipe's own thresholds"
    return f"95 % interval {low:.4f} to {high:.4f}; out of fold, {by}"


def test_share(run: Run) -> float | None:
    """Share of the test images that get a mask in the run's submission; None without one."""
    if not run.submission.is_file():
        return None
    masks = submission.read(run.submission)
    return sum(mask != "-1" for mask in masks.values()) / len(masks)


def reason(run: Run, searches: Sequence[Search]) -> str:
    """Which rule the run uses and why, and where its share of masks counts."""
    chosen = thresholds_file.read_measured(run.thresholds)
    own = thresholds_file.search_of(chosen) == "fixed"
    by = "the recipe's own thresholds" if own else f"the rule “{chosen['rule']}”"
    text = f"The masks are those of {by} ({summary.thresholds(chosen) or NO_THRESHOLDS})"
    tta = run.read_recipe().tta
    same = [(search, search.nested) for search in searches if search.tta == tta and search.nested is not None]
    if len(same) > 1 and same[0][0].used:
        (_, best), (second, nested) = same[:2]
        text += f": of {len(same)} rules it has the highest nested Dice, {best - nested:.4f} above “{second.rule}”"
    if chosen.get("share") is None:
        return f"{text}."
    return (
        f"{text}. Of a test set, the {chosen['share']:.1%} of the images with the most evidence get a mask, and the "
        "nested Dice is of folds treated so; the figures of single images below are by the rule's own thresholds."
    )


@figures.figure
def ladder(axes: Axes, chosen: dict[str, Any], entry: Entry | None) -> Drawn:
    """All scores on one scale, with the interval of the nested Dice."""
    scores = {
        "all-empty": (chosen["dice_all_empty"], figures.MUTED),
        "nested": (chosen["nested_dice"], figures.colour(0)),
        "apparent": (chosen["apparent_dice"], figures.MUTED),
        "public": (entry and entry.public, figures.colour(1)),
        "private": (entry and entry.private, figures.colour(1)),
    }
    there = {name: score for name, (score, _) in scores.items() if score is not None}
    low, high = chosen["interval"] or (chosen["apparent_dice"],) * 2
    axes.axvspan(low, high, color=figures.colour(0), alpha=0.13, linewidth=0)
    for place, (name, score) in enumerate(there.items()):
        axes.hlines(-place, 0, score, color=figures.GRID, linewidth=1)
        axes.plot(score, -place, "o", color=scores[name][1], markersize=8)
        axes.annotate(f"{score:.4f}", (score, -place), (7, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks([-place for place in range(len(there))], list(there))
    left = min(low, *there.values())
    axes.set_xlim(max(0, left - 0.1 * (1 - left)), 1 + 0.25 * (1 - left))
    axes.set_xticks([tick for tick in axes.get_xticks() if left - 0.1 * (1 - left) <= tick <= 1])
    axes.set_ylim(-len(there) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean Dice; shaded: 95 % interval of the nested Dice")
    alt = ", ".join(f"{name} {score:.4f}" for name, score in there.items()) + "."
    data = pd.DataFrame(there.items(), columns=["score", "dice"])
    return Drawn("scores", "Scores on one scale", alt, data, size=(4.7, 0.9 + 0.34 * len(there)))
