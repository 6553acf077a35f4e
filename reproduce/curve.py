"""A learning curve: out-of-fold scores of a recipe with a quarter, half and all of its training images."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kit import recipes
from kit.inference import thresholds_file
from kit.recipes.schema import Recipe
from kit.report import cases
from kit.run import Run
from kit.workflows import folds, train
from kit.workflows.jobs import train_side_by_side
from kit.workflows.workspace import Workspace, open_run
from reproduce.studies import SEEDS, Training

SHARES = (0.25, 0.5, 1.0)


def trainings(recipe: str, overrides: Sequence[str]) -> dict[float, list[Training]]:
    """Returns a training per seed for each share of the images; epochs are scaled to the same number of steps.

    >>> trainings("demo", ["stages=[{size: 32, epochs: 3, batch_size: 8}]"])[0.25][2].overrides
    'name=demo-curve-25-2 seed=2 folds.train_share=0.25 stages.0.epochs=12'
    """
    whole = recipes.load(recipe, overrides)

    def training(share: float, seed: int) -> Training:
        epochs = [f"stages.{n}.epochs={round(stage.epochs / share)}" for n, stage in enumerate(whole.stages)]
        name = f"{whole.name}-curve-{100 * share:.0f}-{seed}"
        return Training(recipe, " ".join([f"name={name} seed={seed} folds.train_share={share}", *epochs]))

    return {share: [training(share, seed) for seed in SEEDS] for share in SHARES}


def train_curve(
    workspace: Workspace, data: Path | str, recipe: str, overrides: Sequence[str], jobs: int = 1
) -> pd.DataFrame:
    """Trains the missing runs of a recipe's learning curve and measures all runs out of fold.

    Args:
        workspace: The workspace of the runs.
        data: The competition's folder.
        recipe: Name or file of the recipe.
        overrides: KEY=VALUE pairs that change the recipe.
        jobs: Number of folds to train at the same time.

    Returns:
        One row per training: share, seed, images and positives that a fold's network learned from (mean over folds),
        nested Dice, all-empty Dice, Dice on positives, share of negatives kept empty, and image AUC.

    Raises:
        KitError: as in the verbs `folds` and `train`.
    """
    rows = []
    for share, seeds in trainings(recipe, overrides).items():
        for training in seeds:
            pairs = [*overrides, training.overrides]
            loaded = recipes.load(recipe, pairs)
            folds.make_folds(workspace, data, loaded)
            options = ["--data", str(data), "--recipe", recipe, *(word for pair in pairs for word in ("--set", pair))]
            run, _ = train_side_by_side(workspace, train.Job(data, loaded), options, jobs)
            rows.append({"share": share, "seed": loaded.seed, **_measure(workspace, data, loaded, run)})
    return pd.DataFrame(rows)


def _measure(workspace: Workspace, data: Path | str, recipe: Recipe, run: Run) -> dict[str, float | None]:
    opened = open_run(workspace, data, recipe, run)
    split, chosen = opened.split, thresholds_file.read_measured(run.thresholds)
    learned = [split.training(fold, recipe.folds.train_share, recipe.seed) for fold in split.numbers]
    return {
        "images": sum(map(len, learned)) / len(learned),
        "positives": sum(split.positive[rows].sum() for rows in learned) / len(learned),
        "nested_dice": chosen.nested_dice,
        "dice_all_empty": chosen.dice_all_empty,
        "dice_positives": chosen.dice_positives,
        "negatives_empty": chosen.negatives_empty,
        "image_auc": cases.image_auc(cases.measure(run, opened.competition, split)),
    }


def table(measured: pd.DataFrame) -> str:
    """Formats the curve as Markdown: one row per share, with mean and range over the seeds.

    Args:
        measured: The result of `train_curve`.
    """
    lines = [
        "| share | images | positives | nested Dice | all empty | Dice on positives | negatives empty | image AUC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share, rows in measured.groupby("share"):
        spread = [
            f"{rows[key].mean():.4f} ({rows[key].min():.4f} to {rows[key].max():.4f})"
            for key in ("nested_dice", "dice_positives", "negatives_empty", "image_auc")
        ]
        spread.insert(1, f"{rows.dice_all_empty.mean():.4f}")
        counts = [f"{rows.images.mean():.0f}", f"{rows.positives.mean():.0f}"]
        lines.append(f"| {' | '.join([f'{share:.0%}', *counts, *spread])} |")
    return "\n".join([*lines, "", f"Mean of {measured.seed.nunique()} seeds (lowest to highest)."])
