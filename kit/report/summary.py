"""One-line summaries of a run's stages and of its threshold search."""

import io
from typing import Any

import pandas as pd

from kit.competition.scoring import format_dice, verdict
from kit.core.errors import KitError
from kit.core.files import read_bytes
from kit.inference import thresholds_file
from kit.run import Run


def describe(run: Run) -> str:
    """Summarises each finished stage of a run by its validation scores, and the chosen rule."""
    lines = []
    for part in run.read_recipe().parts():
        part_run = run.part(part)
        member = f"{part.label} " if part_run is not run else ""
        lines += [f"{member}{stage(part_run, fold, number)}" for fold, number in part_run.finished_stages()]
    return "\n".join([*lines, *([outcome(run)] if run.thresholds.is_file() else [])])


def outcome(run: Run) -> str:
    """Summarises a run's rule and its out-of-fold scores; a second line says if it is no better than no masks at all.

    Without thresholds, the summary says that other folds are still to be trained.
    """
    if not run.thresholds.is_file():
        return f"{run.folder}: trained; thresholds are chosen once every fold is"
    chosen = thresholds_file.read_measured(run.thresholds).content
    values = thresholds(chosen)
    share = f", on {chosen['share']:.1%} of a test set" if chosen.get("share") is not None else ""
    rule = f"{chosen['rule']} ({values})" if values else chosen["rule"]
    return "\n".join(filter(None, (f"rule {rule}{share}: {headline(chosen)}", verdict(chosen))))


def thresholds(chosen: dict[str, Any]) -> str:
    """Formats the thresholds of a thresholds.json with their 95 % bootstrap intervals; empty for the rule `expected`.

    >>> thresholds({"binarization": 0.75, "removal": 20560, "spread": {"removal": [512, 1024, 30000]}})
    'binarization 0.75, removal 20560 [512–30000]'
    """
    texts = []
    for key in ("top", "binarization", "removal", "gate"):
        if key in chosen:
            form = ".0f" if key == "removal" else ".4g"
            spread = (chosen.get("spread") or {}).get(key)
            bounds = f" [{spread[0]:{form}}–{spread[2]:{form}}]" if spread else ""
            texts.append(f"{key} {chosen[key]:{form}}{bounds}")
    return ", ".join(texts)


def headline(chosen: dict[str, Any]) -> str:
    """Formats the scores of a thresholds.json: nested Dice with its interval, all-empty Dice and apparent Dice.

    >>> headline({"nested_dice": 0.817, "interval": [0.77, 0.86], "dice_all_empty": 0.7708, "apparent_dice": 0.8634})
    'nested Dice 0.8170 [0.7700, 0.8600], all empty 0.7708 (apparent 0.8634)'
    """
    if chosen["nested_dice"] is None:
        nested = "no nested Dice, since all images are of one patient"
    else:
        low, high = chosen["interval"]
        nested = f"nested Dice {chosen['nested_dice']:.4f} [{low:.4f}, {high:.4f}]"
    return f"{nested}, all empty {chosen['dice_all_empty']:.4f} (apparent {chosen['apparent_dice']:.4f})"


def metrics(run: Run, fold: int, number: int) -> pd.DataFrame:
    """Reads the metrics of a finished stage: one row per epoch, and one for the final weights."""
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
    """Summarises a finished stage by its validation scores."""
    table = metrics(run, fold, number)
    last = table.iloc[-1]
    epochs = int(last.epoch)
    return (
        f"fold {fold} stage {number + 1}: Dice {format_dice(last)}, IoU {last.iou:.4f}, "
        f"loss {last.validation_loss:.4f} after {epochs} epoch{'s' * (epochs > 1)} in {table.seconds.sum():.0f} s"
    )
