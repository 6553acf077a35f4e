"""What a run has reached and a search has found, in words."""

import io
from typing import Any

import pandas as pd

from kit.competition.scoring import format_dice, verdict
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
    """What a run scores out of fold, by which rule, and on a second line where that is no better than no mask at all.

    Where it has no thresholds yet: that it waits for other folds.
    """
    if not run.thresholds.is_file():
        return f"{run.folder}: trained; thresholds are chosen once every fold is"
    found = thresholds_file.read_measured(run.thresholds).content
    values = thresholds(found)
    share = f", on {found['share']:.1%} of a test set" if found.get("share") is not None else ""
    chosen = f"{found['rule']} ({values})" if values else found["rule"]
    return "\n".join(filter(None, (f"rule {chosen}{share}: {headline(found)}", verdict(found))))


def thresholds(found: dict[str, Any]) -> str:
    """The thresholds of a thresholds.json, with where 95 % of the optima of bootstrap draws lie; of `expected` none.

    >>> thresholds({"binarization": 0.75, "removal": 20560, "spread": {"removal": [512, 1024, 30000]}})
    'binarization 0.75, removal 20560 [512–30000]'
    """
    texts = []
    for key in ("top", "binarization", "removal", "gate"):
        if key in found:
            form = ".0f" if key == "removal" else ".4g"
            spread = (found.get("spread") or {}).get(key)
            bounds = f" [{spread[0]:{form}}–{spread[2]:{form}}]" if spread else ""
            texts.append(f"{key} {found[key]:{form}}{bounds}")
    return ", ".join(texts)


def headline(found: dict[str, Any]) -> str:
    """The nested Dice of a thresholds.json with its interval, what predicting nothing scores, and the apparent Dice.

    >>> headline({"nested_dice": 0.817, "interval": [0.77, 0.86], "dice_all_empty": 0.7708, "apparent_dice": 0.8634})
    'nested Dice 0.8170 [0.7700, 0.8600], all empty 0.7708 (apparent 0.8634)'
    """
    if found["nested_dice"] is None:
        nested = "no nested Dice, since all images are of one patient"
    else:
        low, high = found["interval"]
        nested = f"nested Dice {found['nested_dice']:.4f} [{low:.4f}, {high:.4f}]"
    return f"{nested}, all empty {found['dice_all_empty']:.4f} (apparent {found['apparent_dice']:.4f})"


def metrics(run: Run, fold: int, number: int) -> pd.DataFrame:
    """The metrics of a finished stage: one row per epoch, and one of the final weights."""
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
    epochs = int(last.epoch)
    return (
        f"fold {fold} stage {number + 1}: Dice {format_dice(last)}, IoU {last.iou:.4f}, "
        f"loss {last.validation_loss:.4f} after {epochs} epoch{'s' * (epochs > 1)} in {table.seconds.sum():.0f} s"
    )
