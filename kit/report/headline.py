"""The first thing that a reader sees: what a run scores, and what that is to be compared with."""

from collections.abc import Sequence
from typing import Any

from kit.competition import submission
from kit.core.files import sha256
from kit.inference import thresholds_file
from kit.report import cases, summary
from kit.report.cases import Cases
from kit.report.document import Measure, Search
from kit.report.surfaces import NO_THRESHOLDS
from kit.run import Run
from kit.submissions.ledger import Entry


def measures(run: Run, found: Cases, entry: Entry | None) -> list[Measure]:
    """The figures of the headline, the competition's own first."""
    chosen = thresholds_file.read_measured(run.thresholds).content
    old = entry is not None and run.submission.is_file() and entry.sha256 != sha256(run.submission)
    ledger = f"leaderboard, from the ledger{', of an earlier submission' if old else ''}"
    share = test_share(run)
    of_test = "no submission yet" if share is None else f"{100 * share:.1f} % of the test set"
    rows: list[tuple[str, float | None, str]] = [
        ("Nested Dice", chosen["nested_dice"], nested_note(chosen)),
        ("All-empty baseline", chosen["dice_all_empty"], "what a submission without any mask scores here"),
        ("Dice on positives", chosen["dice_positives"], "positive images alone, nested"),
        ("Negatives kept empty", chosen["negatives_empty"], "share of the negative images, nested"),
        ("Apparent Dice", chosen["apparent_dice"], "by this rule on the images that it was chosen on: optimistic"),
        ("Image AUC", cases.image_auc(found), "positive or negative, by the out-of-fold probability"),
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
    chosen = thresholds_file.read_measured(run.thresholds).content
    by = f"the rule “{chosen['rule']}”" if chosen["rules"] else "the recipe's own thresholds"
    text = f"The masks are those of {by} ({summary.thresholds(chosen) or NO_THRESHOLDS})"
    tta = run.read_recipe().tta
    same = [(search, search.nested_dice) for search in searches if search.tta == tta and search.nested_dice is not None]
    if len(same) > 1 and same[0][0].used:
        (_, best), (second, nested) = same[:2]
        text += f": of {len(same)} rules it has the highest nested Dice, {best - nested:.4f} above “{second.rule}”"
    if chosen.get("share") is None:
        return f"{text}."
    return (
        f"{text}. Of a test set, the {chosen['share']:.1%} of the images with the most evidence get a mask, and the "
        "nested Dice is of folds treated so; the figures of single images below are by the rule's own thresholds."
    )
