"""The headline of the page: the scores of a run, and what to compare them with."""

from collections.abc import Sequence

from kit.competition import rle, submission
from kit.core.files import sha256
from kit.inference import thresholds_file
from kit.inference.thresholds_file import Thresholds
from kit.report import cases, summary
from kit.report.cases import Cases
from kit.report.document import Measure, Search
from kit.report.surfaces import NO_THRESHOLDS
from kit.run import Run
from kit.submissions.ledger import Entry


def measures(run: Run, measured: Cases, entry: Entry | None) -> list[Measure]:
    """Returns the scores of the headline; `entry` is the run's scored entry in the ledger."""
    chosen = thresholds_file.read_measured(run.thresholds)
    outdated = entry is not None and run.submission.is_file() and entry.sha256 != sha256(run.submission)
    ledger = f"leaderboard, from the ledger{', of an earlier submission' if outdated else ''}"
    share = test_share(run)
    of_test = "no submission yet" if share is None else f"{100 * share:.1f} % of the test set"
    rows: list[tuple[str, float | None, str]] = [
        ("Nested Dice", chosen.nested_dice, nested_note(chosen)),
        ("All-empty baseline", chosen.dice_all_empty, "what a submission without any mask scores here"),
        ("Dice on positives", chosen.dice_positives, "positive images alone, nested"),
        ("Negatives kept empty", chosen.negatives_empty, "share of the negative images, nested"),
        ("Apparent Dice", chosen.apparent_dice, "by this rule on the images that it was chosen on: optimistic"),
        ("Image AUC", cases.image_auc(measured), "positive or negative, by the out-of-fold probability"),
        ("Public", entry.public if entry else None, ledger),
        ("Private", entry.private if entry else None, ledger),
    ]
    masked = Measure(name="Images with a mask", value=chosen.masked, note=f"out of fold; {of_test}", kind="share")
    return [*(Measure(name=name, value=value, note=note) for name, value, note in rows), masked]


def nested_note(chosen: Thresholds) -> str:
    """Explains the nested Dice of a thresholds.json, with its interval."""
    if chosen.interval is None:
        return "not known: all images are of one patient"
    low, high = chosen.interval
    what = "rule and thresholds" if chosen.rules and len(chosen.rules) > 1 else "thresholds"
    how = f"each fold by {what} of the others" if chosen.rules else "by the recipe's own thresholds"
    return f"95 % interval {low:.4f} to {high:.4f}; out of fold, {how}"


def test_share(run: Run) -> float | None:
    """Returns the share of the test images that get a mask in the run's submission; None without a submission."""
    if not run.submission.is_file():
        return None
    masks = submission.read(run.submission)
    return sum(mask != rle.EMPTY for mask in masks.values()) / len(masks)


def reason(run: Run, searches: Sequence[Search]) -> str:
    """Says which rule the run uses and why, and what a share of masks changes."""
    chosen = thresholds_file.read_measured(run.thresholds)
    rule = f"the rule “{chosen.rule.name}”" if chosen.rules else "the recipe's own thresholds"
    text = f"The masks are those of {rule} ({summary.thresholds(chosen.content) or NO_THRESHOLDS})"
    tta = run.read_recipe().tta
    scored = [(rule.nested_dice, rule) for rule in searches if rule.tta == tta and rule.nested_dice is not None]
    if len(scored) > 1 and scored[0][1].used:
        (best, _), (nested, second) = scored[:2]
        text += f": of {len(scored)} rules it has the highest nested Dice, {best - nested:.4f} above “{second.rule}”"
    if chosen.share is None:
        return f"{text}."
    return (
        f"{text}. Of a test set, the {chosen.share:.1%} of the images with the most evidence get a mask, and the "
        "nested Dice treats each fold in the same way; the scores of single images below use the rule's own thresholds."
    )
