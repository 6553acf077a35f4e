"""How well a run tells images with a pneumothorax, and pixels of one, from the others: confusion, ROC, reliability."""

import numpy as np
import pandas as pd

from kit.inference.maps import PROBABILITIES
from kit.report import figures
from kit.report.cases import Cases
from kit.report.figures import Figure

BINS = 10


def confusion(cases: Cases) -> dict[str, float | None]:
    """Empty against not empty, by the run's rule: four counts, and the shares that follow; None of no images.

    `found` counts images with a pneumothorax that get a mask, wherever it lies.
    """
    positive, masked = cases.positive, (cases.table.mask_area > 0).to_numpy()
    counts = {
        "found": int((positive & masked).sum()),
        "missed": int((positive & ~masked).sum()),
        "false": int((~positive & masked).sum()),
        "empty": int((~positive & ~masked).sum()),
    }
    return counts | {
        "sensitivity": _share(counts["found"], counts["missed"]),
        "specificity": _share(counts["empty"], counts["false"]),
        "precision": _share(counts["found"], counts["false"]),
        "negative_predictive_value": _share(counts["empty"], counts["missed"]),
    }


def image_roc(cases: Cases) -> pd.DataFrame:
    """Columns false_positive_rate, true_positive_rate, threshold: of P(the image has any pneumothorax)."""
    from sklearn.metrics import roc_curve

    rates = roc_curve(cases.positive, cases.table.image_probability, drop_intermediate=True)
    return pd.DataFrame(dict(zip(("false_positive_rate", "true_positive_rate", "threshold"), rates, strict=True)))


def pixel_roc(cases: Cases) -> pd.DataFrame:
    """The same of all pixels of all images, exact: a point a level."""
    area, overlap = (counts.sum(axis=1, dtype=np.int64) for counts in (cases.counts.area, cases.counts.overlap))
    outside = area - overlap
    return pd.DataFrame(
        {
            "false_positive_rate": np.append(outside / max(outside[0], 1), 0)[::-1],
            "true_positive_rate": np.append(overlap / max(overlap[0], 1), 0)[::-1],
            "threshold": np.append(PROBABILITIES, np.inf)[::-1],
        }
    )


def area_under(curve: pd.DataFrame) -> float:
    """Area under a ROC curve, in [0, 1]."""
    return float(np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


@figures.styled
def roc(cases: Cases) -> Figure:
    """Both ROC curves, and where the run's rule stands."""
    curves = {"image": image_roc(cases), "pixel": pixel_roc(cases)}
    figure, axes = figures.draw()
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--")
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name}, AUC {area_under(curve):.3f}"
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=figures.colour(number), label=label)
    shares = confusion(cases)
    sensitivity, specificity = shares["sensitivity"], shares["specificity"]
    if sensitivity is not None and specificity is not None:
        axes.plot(1 - specificity, sensitivity, "o", color=figures.colour(0), markersize=8, label="the rule")
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(-0.02, 1), ylim=(0, 1.02))
    axes.set_title("ROC")
    axes.legend(loc="lower right")
    areas = [area_under(curves[name]) for name in ("image", "pixel")]
    alt = f"Area under the curve {areas[0]:.3f} by image and {areas[1]:.3f} by pixel."
    data = pd.concat([curve.assign(of=name) for name, curve in curves.items()])
    return figures.finish(figure, "roc", "ROC by image and by pixel", alt, data)


def image_reliability(cases: Cases) -> pd.DataFrame:
    """Columns predicted, observed, count: P(any pneumothorax) in bins of as many images each."""
    ranks = np.argsort(np.argsort(cases.table.image_probability.to_numpy(), kind="stable"), kind="stable")
    return _binned(
        cases.table.image_probability.to_numpy(), cases.positive, np.ones(len(ranks)), ranks * BINS // len(ranks)
    )


def pixel_reliability(cases: Cases) -> pd.DataFrame:
    """The same of pixels, in bins of 0.1: how many of those of a probability are foreground."""
    area, overlap = (
        -np.diff(counts.sum(axis=1, dtype=np.int64), append=0) for counts in (cases.counts.area, cases.counts.overlap)
    )
    share = np.divide(overlap, area, out=np.zeros(256), where=area > 0)
    return _binned(PROBABILITIES, share, area, np.minimum((PROBABILITIES * BINS).astype(int), BINS - 1))


@figures.styled
def reliability(cases: Cases) -> Figure:
    """Observed against predicted, by image and by pixel."""
    found = {"image": image_reliability(cases), "pixel": pixel_reliability(cases)}
    figure, axes = figures.draw()
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--", label="perfect")
    for number, (name, bins) in enumerate(found.items()):
        axes.plot(bins.predicted, bins.observed, "o-", color=figures.colour(number), markersize=5, label=name)
    axes.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title("Reliability")
    axes.legend(loc="upper left")
    errors = {
        name: np.average((bins.predicted - bins.observed).abs(), weights=bins["count"]) for name, bins in found.items()
    }
    alt = f"Mean calibration error {errors['image']:.3f} by image and {errors['pixel']:.4f} by pixel."
    data = pd.concat([bins.assign(of=name) for name, bins in found.items()])
    return figures.finish(figure, "reliability", "Reliability by image and by pixel", alt, data)


def _binned(predicted: np.ndarray, observed: np.ndarray, weights: np.ndarray, bins: np.ndarray) -> pd.DataFrame:
    count = np.bincount(bins, weights, minlength=BINS)
    there = count > 0
    means = [
        np.bincount(bins, weights * values, minlength=BINS)[there] / count[there] for values in (predicted, observed)
    ]
    return pd.DataFrame({"predicted": means[0], "observed": means[1], "count": count[there].astype(np.int64)})


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
