"""Detection of positive images and foreground pixels: confusion matrix, ROC curves and reliability diagrams."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kit.inference.maps import PROBABILITIES
from kit.report import figures
from kit.report.cases import Cases
from kit.report.document import Confusion
from kit.report.figures import Drawn

BINS = 10


def confusion(cases: Cases) -> Confusion:
    """Counts positive and negative images with and without a mask."""
    positive, masked = cases.positive, (cases.table.mask_area > 0).to_numpy()
    found, missed = int((positive & masked).sum()), int((positive & ~masked).sum())
    false, empty = int((~positive & masked).sum()), int((~positive & ~masked).sum())
    return Confusion(
        found=found,
        missed=missed,
        false_positives=false,
        kept_empty=empty,
        sensitivity=_share(found, missed),
        specificity=_share(empty, false),
        positive_predictive_value=_share(found, false),
        negative_predictive_value=_share(empty, missed),
    )


def image_roc(cases: Cases) -> pd.DataFrame:
    """Computes the ROC curve of P(the image is positive): columns false_positive_rate and true_positive_rate."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(cases.positive, cases.table.image_probability, drop_intermediate=True)
    return pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true})


def pixel_roc(cases: Cases) -> pd.DataFrame:
    """Computes the exact ROC curve of all pixels of all images, one point per level; columns as in `image_roc`."""
    area, overlap = (counts.sum(axis=1, dtype=np.int64) for counts in (cases.counts.area, cases.counts.overlap))
    outside = area - overlap
    return pd.DataFrame(
        {
            "false_positive_rate": np.append(outside / max(outside[0], 1), 0)[::-1],
            "true_positive_rate": np.append(overlap / max(overlap[0], 1), 0)[::-1],
        }
    )


def area_under(curve: pd.DataFrame) -> float:
    """Returns the area under a ROC curve, in [0, 1]."""
    return float(np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


@figures.figure
def roc(axes: Axes, cases: Cases) -> Drawn:
    """Draws both ROC curves with a point for each image, at its probability, and one for the run's rule."""
    curves = {"image": image_roc(cases), "pixel": pixel_roc(cases)}
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--")
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name}, AUC {area_under(curve):.3f}"
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=figures.colour(number), label=label)
    probability = cases.table.image_probability.to_numpy()
    parts = probability[~cases.positive], probability[cases.positive]
    false, true = (1 - np.searchsorted(np.sort(part), probability) / len(part) for part in parts)
    axes.scatter(false, true, s=10, color=figures.colour(0), alpha=0.6, linewidths=0, gid=figures.CASES)
    shares = confusion(cases)
    if shares.sensitivity is not None and shares.specificity is not None:
        axes.plot(1 - shares.specificity, shares.sensitivity, "o", color=figures.colour(0), label="the rule")
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right")
    by_image, by_pixel = map(area_under, curves.values())
    alt = f"Area under the curve {by_image:.3f} by image and {by_pixel:.3f} by pixel."
    data = pd.concat([curve.assign(of=name) for name, curve in curves.items()])
    return Drawn("roc", "ROC by image and by pixel", alt, data, range(len(probability)))


def image_reliability(cases: Cases) -> pd.DataFrame:
    """Bins P(the image is positive), with equally many images per bin: columns predicted, observed and count."""
    probability = cases.table.image_probability.to_numpy()
    ranks = np.argsort(np.argsort(probability, kind="stable"), kind="stable")
    return _binned(probability, cases.positive, np.ones(len(ranks)), ranks * BINS // len(ranks))


def pixel_reliability(cases: Cases) -> pd.DataFrame:
    """Computes the share of foreground among the pixels in bins of 0.1; columns as in `image_reliability`."""
    area, overlap = (
        -np.diff(counts.sum(axis=1, dtype=np.int64), append=0) for counts in (cases.counts.area, cases.counts.overlap)
    )
    share = np.divide(overlap, area, out=np.zeros(256), where=area > 0)
    return _binned(PROBABILITIES, share, area, np.minimum((PROBABILITIES * BINS).astype(int), BINS - 1))


@figures.figure
def reliability(axes: Axes, cases: Cases) -> Drawn:
    """Draws observed shares against predicted probabilities, by image and by pixel."""
    curves = {"image": image_reliability(cases), "pixel": pixel_reliability(cases)}
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--", label="perfect")
    for number, (name, bins) in enumerate(curves.items()):
        axes.plot(bins.predicted, bins.observed, "o-", color=figures.colour(number), markersize=5, label=name)
    axes.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left")
    by_image, by_pixel = (
        np.average((bins.predicted - bins.observed).abs(), weights=bins["count"]) for bins in curves.values()
    )
    alt = f"Mean calibration error {by_image:.3f} by image and {by_pixel:.4f} by pixel."
    data = pd.concat([bins.assign(of=name) for name, bins in curves.items()])
    return Drawn("reliability", "Reliability by image and by pixel", alt, data)


def _binned(predicted: np.ndarray, observed: np.ndarray, weights: np.ndarray, bins: np.ndarray) -> pd.DataFrame:
    count = np.bincount(bins, weights, minlength=BINS)
    filled = count > 0
    means = [
        np.bincount(bins, weights * values, minlength=BINS)[filled] / count[filled] for values in (predicted, observed)
    ]
    return pd.DataFrame({"predicted": means[0], "observed": means[1], "count": count[filled].astype(np.int64)})


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
