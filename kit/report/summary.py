"""What a run has reached, in a few lines of text."""

import io

import pandas as pd

from kit.competition.scoring import in_words
from kit.core.errors import KitError
from kit.core.files import read_bytes
from kit.inference import thresholds_file
from kit.run import Run


def describe(run: Run) -> str:
    """What a run has reached: each stage on its validation part, and the chosen rule."""
    lines = []
    for part in run.read_recipe().parts():
        own = run.part(part)
        member = f"{part.label} " if own != run else ""
        lines += [f"{member}{stage(own, *where)}" for where in own.finished_stages()]
    return "\n".join([*lines, *([outcome(run)] if run.thresholds.is_file() else [])])


def outcome(run: Run) -> str:
    """What a run scores out of fold, by which rule; that it waits for other folds, where it has no thresholds yet."""
    if not run.thresholds.is_file():
        return f"{run.folder}: trained; thresholds are chosen once every fold is"
    found = thresholds_file.read_measured(run.thresholds)
    rule = ", ".join(
        f"{name} {found[name]:{'d' if name == 'removal' else '.4g'}}"
        for name in ("top", "binarization", "removal", "gate")
        if name in found
    )
    low, high = found["interval"]
    nested = f", nested {found['nested_dice']:.4f}" if found["nested_dice"] is not None else ""
    chosen = f"{found['rule']} ({rule})" if rule else found["rule"]
    share = f", on {found['share']:.1%} of a test set" if found.get("share") is not None else ""
    return f"rule {chosen}{share}: OOF Dice {in_words(found)} [{low:.4f}, {high:.4f}]{nested}"


def metrics(run: Run, fold: int, number: int) -> pd.DataFrame:
    """The metrics of a finished stage: a row an epoch, and one of the final weights.

    Raises:
        KitError: the file is missing or broken.
    """
    path = run.stage(fold, number) / "metrics.csv"
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path)))
        numbers = table[["epoch", "loss", "validation_loss", "iou", "dice", "seconds"]].astype(float)
    except (ValueError, KeyError) as error:
        raise KitError(
            f"{path}: is not the metrics of a stage ({error}): remove {path.parent} to train it again"
        ) from None
    if len(numbers) < 2 or numbers[["iou", "dice"]].iloc[-2:].isna().any(axis=None):
        raise KitError(f"{path}: is not the metrics of a finished stage: remove {path.parent} to train it again")
    return table


def stage(run: Run, fold: int, number: int) -> str:
    """What a finished stage reached on its validation part, in a line."""
    table = metrics(run, fold, number)
    last = table.iloc[-1]
    return (
        f"fold {fold} stage {number + 1}: Dice {in_words(last)}, IoU {last.iou:.4f}, loss {last.validation_loss:.4f} "
        f"after {int(last.epoch)} epochs in {table.seconds.sum():.0f} s"
    )
