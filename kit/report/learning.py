"""Learning curves: losses and validation scores of every stage and fold on one time axis."""

import pandas as pd
from matplotlib.axes import Axes

from kit.recipes.schema import Recipe
from kit.report import figures, summary
from kit.report.document import Learning, TrainedStage
from kit.report.figures import Drawn
from kit.run import Run

MEASURES = {
    "loss": "Training loss",
    "validation_loss": "Validation loss",
    "dice": "Validation Dice",
}


def sections(run: Run, recipe: Recipe) -> list[Learning]:
    """Returns learning curves and training times of each network of a run."""
    networks = []
    for part in recipe.parts():
        part_run, member = run.part(part), part.label if recipe.members else ""
        table = history(part_run)
        if len(table):
            prefix = f"{member}-" if member else ""
            curves = [curve(table, measure, prefix) for measure in MEASURES]
            networks.append(Learning(member=member, stages=stages(part_run, part), figures=curves))
    return networks


def history(run: Run) -> pd.DataFrame:
    """Collects the epochs of all finished stages of a run without members.

    Returns:
        The columns of metrics.csv, with fold, stage (from 1) and `minutes` of training. All folds start a stage
        together, when the slowest fold has finished the previous one. A row whose `weights` are `final` has the time
        of the last epoch.
    """
    parts, start = [], 0.0
    trained = run.finished_stages()
    for number in sorted({number for _, number in trained}):
        stage = []
        for fold in (fold for fold, other in trained if other == number):
            table = summary.metrics(run, fold, number)
            minutes = start + table.seconds.fillna(0).cumsum() / 60
            stage.append(table.assign(fold=fold, stage=number + 1, minutes=minutes))
        start = max(part.minutes.iloc[-1] for part in stage)
        parts += stage
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def stages(run: Run, recipe: Recipe) -> list[TrainedStage]:
    """Returns the training time of each stage of each fold, and the validation scores of its final weights."""
    rows = []
    for fold, number in run.finished_stages():
        table, stage = summary.metrics(run, fold, number), recipe.stages[number]
        last = table.iloc[-1]
        rows.append(
            TrainedStage(
                fold=fold,
                stage=number + 1,
                size=stage.size,
                epochs=int((table.weights == "epoch").sum()),
                seconds=float(table.seconds.sum()),
                dice=float(last.dice),
                iou=float(last.iou),
                validation_loss=float(last.validation_loss),
                weights="averaged" if stage.averages else "last epoch",
            )
        )
    return rows


@figures.figure
def curve(axes: Axes, history: pd.DataFrame, measure: str, prefix: str = "") -> Drawn:
    """Draws a measure against time: one colour per fold, one line per stage, and a diamond for the final weights.

    Outliers are cut off, so that one bad epoch does not flatten the rest of the curve.
    """
    validated = history.dropna(subset=[measure])  # not every epoch is validated
    for number, (fold, fold_rows) in enumerate(validated.groupby("fold")):
        colour = figures.colour(number)
        for stage, part in fold_rows.groupby("stage"):
            epochs = part[part.weights == "epoch"]
            label = f"fold {fold}" if stage == fold_rows.stage.min() else None
            point = "o" if len(epochs) < 40 else None
            axes.plot(epochs.minutes, epochs[measure], marker=point, markersize=3, color=colour, label=label)
        final = fold_rows[fold_rows.weights == "final"] if measure != "loss" else fold_rows[:0]
        axes.plot(
            final.minutes, final[measure], "D", color=colour, markersize=7, markeredgecolor=figures.PAPER, zorder=4
        )
    for stage, part in history.groupby("stage"):
        if stage < history.stage.max():
            axes.axvline(part.minutes.max(), color=figures.MUTED, linewidth=1, linestyle=":")
    low, high = _robust_range(validated[measure])
    margin = 0.06 * max(high - low, 1e-3)
    axes.set_ylim(max(0, low) - margin, high + margin)
    axes.set(xlabel="minutes of training", xlim=(0, history.minutes.max() * 1.03))
    final_means = validated[validated.weights == "final"].groupby("stage")[measure].mean()
    values = ", ".join(f"stage {stage} {value:.3f}" for stage, value in final_means.items())
    alt = f"With the final weights, mean over the folds: {values}."
    if measure == "loss":
        axes.legend(ncols=2)
        alt = "One line per fold, stages one after the other."
    data = history[["fold", "stage", "epoch", "weights", "minutes", measure]]
    return Drawn(f"{prefix}learning-{measure.replace('_', '-')}", MEASURES[measure], alt, data)


def _robust_range(values: pd.Series) -> tuple[float, float]:
    """Returns the range of the values within 1.5 interquartile ranges of the quartiles."""
    lower, upper = values.quantile([0.25, 0.75])
    reach = 1.5 * (upper - lower)
    return max(values.min(), lower - reach), min(values.max(), upper + reach)
