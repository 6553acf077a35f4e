"""A table of the images that a run has predicted out of fold: metadata, truth, probability, mask and scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd

from kit.competition import dicom, scoring
from kit.competition.layout import Competition
from kit.competition.scoring import FULL_AREA
from kit.core.errors import KitError
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.data.folds import Folds
from kit.inference import maps, rules, thresholds_file
from kit.inference.masks import read_image_probabilities
from kit.report.document import Case
from kit.report.gallery import Outlines, outlines
from kit.run import Run
from kit.thresholds.calibration import ExpectedSearch
from kit.thresholds.cross_validation import group_numbers, prevalence_weights
from kit.thresholds.tables import Histograms

COLUMNS = list(Case.model_fields)
OUTCOMES = ("found", "misplaced", "missed", "false positive", "kept empty")
"""The first three are outcomes of positive images, the last two of negative ones."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Cases:
    """The table of images, and the pixel counts that all curves are drawn from."""

    table: pd.DataFrame
    """`COLUMNS` of each image, sorted by image_id; areas in pixels of a 1024×1024 image, probabilities in [0, 1]."""
    counts: Histograms
    """Number of pixels of each image at and above each level, in the table's order."""
    source: pd.DataFrame
    """Location of each image's map, in the table's order: columns file and index."""
    weights: np.ndarray
    """Weight of each image, (N,): 1, or such that positives have the recipe's prevalence."""
    outlines: list[Outlines]
    """Borders of each image's mask, in the table's order."""

    @property
    def positive(self) -> np.ndarray:
        """Whether each image has a finding, bool (N,)."""
        return (self.table.truth_area > 0).to_numpy()

    def levels(self, row: int) -> np.ndarray:
        """Reads the out-of-fold map of a row, uint8 levels (h, w)."""
        file, index = self.source.iloc[row]
        return maps.to_levels(maps.read_row(file, index))


def measure(run: Run, competition: Competition, split: Folds) -> Cases:
    """Applies the run's rule to every out-of-fold map. Reads each map and each DICOM header once.

    Raises:
        KitError: the run has no thresholds or no maps yet, or a map's image has no labels.
    """
    recipe = run.read_recipe()
    if not run.thresholds.is_file() or not run.predicted_folds():
        raise KitError(f"{run.folder}: has no thresholds yet: run `make train` first")
    chosen = thresholds_file.read(run.thresholds)
    source = pd.DataFrame(_list_maps(run, tta=recipe.tta), columns=["image_id", "file", "index", "probability"])
    source = source.sort_values("image_id", ignore_index=True)
    folds = split.table.set_index("image_id")
    # Reports are passed on, so they replace patient ids by numbers; only folds/NAME.csv tells which is which.
    folds["patient_id"] = [f"P{number + 1:05}" for number in pd.factorize(folds.patient_id)[0]]
    for image in source.image_id:
        if image not in competition.labels or image not in folds.index:
            raise KitError(
                f"{source.file[0]}: image {image} is not in {competition.labels_path}: run `make train` again"
            )
    counts, borders = Histograms(len(source)), dict[int, Outlines]()

    def row(index: int) -> dict[str, Any]:
        image, file, position, probability = source.iloc[index]
        header, truth = dicom.read_metadata(competition.train[image]), competition.truth(image)
        levels = maps.upsample(maps.to_levels(maps.read_row(file, position)), truth.shape)
        counts.add(index, levels, truth)
        mask = chosen.rule.mask(levels, probability)
        borders[index] = outlines(mask)
        mask_pixels, truth_pixels = np.count_nonzero(mask), np.count_nonzero(truth)
        score, distance = scoring.dice(mask, truth), hausdorff95(mask, truth)
        if truth_pixels:
            outcome = "missed" if not mask_pixels else "found" if score else "misplaced"
        else:
            outcome = "false positive" if mask_pixels else "kept empty"
        return {
            "sex": header.sex or UNKNOWN,
            "age": header.age,
            "view": (header.view_position or UNKNOWN).upper(),
            "image_cm2": None if header.pixel_area is None else header.pixel_area * truth.size / 100,
            "truth_area": rules.size_of(truth_pixels, truth.size),
            "mask_area": rules.size_of(mask_pixels, truth.size),
            "dice": score,
            "hd95": None if distance is None else distance * np.sqrt(FULL_AREA / truth.size),
            "outcome": outcome,
        }

    rows = list(progress(map_in_order(row, range(len(source))), f"measuring {run.folder.name}", len(source)))
    types = {"age": "Int64", "image_cm2": float, "hd95": float}
    table = folds.loc[source.image_id, ["patient_id", "fold", "stratum"]].reset_index()
    table = table.join(pd.DataFrame(rows).astype(types))
    gated = source.probability.notna().all()
    table["image_probability"] = source.probability if gated else probability_of_finding(counts, table)
    weights = prevalence_weights(counts.truth > 0, chosen.prevalence)
    return Cases(table[COLUMNS], counts, source[["file", "index"]], weights, [borders[row] for row in table.index])


def hausdorff95(mask: np.ndarray, truth: np.ndarray) -> float | None:
    """Returns the 95th percentile of the distances between the borders of two masks, in both directions, as in MedPy.

    Args:
        mask: bool (H, W), as `truth`.

    Returns:
        The distance in pixels; None if one of the masks is empty.
    """
    if not (mask.any() and truth.any()):
        return None
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    first, second = (
        area & ~cv2.erode(area.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
        for area in (mask, truth)
    )
    distances = [
        cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[other]
        for border, other in ((second, first), (first, second))
    ]
    return float(np.percentile(np.concatenate(distances), 95))


def probability_of_finding(counts: Histograms, table: pd.DataFrame) -> np.ndarray:
    """Estimates P(the image has any finding) from the areas in its map, float64 (N,).

    Uses the logistic regression of the `expected` rule, fitted for each fold on the images of the other folds.
    """
    groups = group_numbers(list(table.fold), list(table.patient_id))
    probability = np.empty(len(groups))
    for group in np.unique(groups):
        held_out = groups == group
        rule = ExpectedSearch(counts).best(np.ones(len(groups)) if held_out.all() else np.where(held_out, 0.0, 1.0))
        probability[held_out] = rule.p_nonempty(counts.area[:, held_out], counts.pixels[held_out])
    return probability


def _list_maps(run: Run, *, tta: bool) -> Iterator[tuple]:
    """Yields image, file and index of each out-of-fold map, and the classifier's probability, NaN if there is none."""
    for fold in run.predicted_folds():
        path, classified = run.oof(fold, tta=tta), run.oof(fold, tta=tta, role="classify")
        ids = maps.open_maps(path).ids
        answers = read_image_probabilities(classified, len(ids)) if classified.is_file() else np.full(len(ids), np.nan)
        for index, image in enumerate(ids):
            yield image, path, index, answers[index]


def image_auc(cases: Cases) -> float | None:
    """Returns the AUC of P(the image has any finding), in [0, 1]; None without positives or negatives."""
    from sklearn.metrics import roc_auc_score

    if cases.positive.all() or not cases.positive.any():
        return None
    return float(roc_auc_score(cases.positive, cases.table.image_probability))
