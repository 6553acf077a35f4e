"""What a run found, drawn on the radiographs: truth and out-of-fold mask side by side with their Dice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from kit.competition import dicom, rle, scoring
from kit.competition.layout import Competition
from kit.core.files import replacing
from kit.inference import maps, rules
from kit.run import Run

TRUTH, FOUND = (80, 220, 80), (60, 60, 255)  # green and red, as OpenCV orders colours
TILE = 384
"""Pixels a side of each picture."""


def pick(run: Run, competition: Competition, tta: bool, count: int = 8) -> list[str]:
    """Positives from the best found to the worst, evenly spaced, and one negative last.

    Args:
        run: With OOF maps and thresholds.
        competition: Its data.
        tta: Whether maps are those with TTA.
        count: How many.
    """
    found = {image_id: mask for image_id, mask in masks(run, competition, tta) if competition.labels[image_id]}
    truth = {image_id: rle.union(competition.labels[image_id], competition.shape, image_id) for image_id in found}
    ranked = sorted(found, key=lambda image_id: (-scoring.dice(found[image_id], truth[image_id]), image_id))
    places = np.linspace(0, len(ranked) - 1, min(count - 1, len(ranked))).round().astype(int)
    negatives = [image_id for image_id in competition.labels if not competition.labels[image_id]][:1]
    return [ranked[place] for place in places] + negatives


def masks(
    run: Run, competition: Competition, tta: bool, wanted: Sequence[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Pairs of image id and out-of-fold mask, bool (H, W), by the run's chosen rule.

    Args:
        run: With OOF maps and thresholds.
        competition: Its data.
        tta: Whether maps are those with TTA.
        wanted: Ids; None: all.
    """
    rule = rules.read(run.thresholds)
    for fold in run.predicted_folds():
        stack, presence = maps.open_maps(run.oof(fold, tta)), run.oof(fold, tta, "classify")
        given = [[value] for value in np.load(presence)] if presence.is_file() else [[]] * len(stack)
        for index, image_id in enumerate(stack.ids):
            if wanted is None or image_id in wanted:
                yield image_id, rule.mask(maps.upsample(stack[index], competition.shape), *given[index])


def sheet(run: Run, competition: Competition, tta: bool, ids: Sequence[str], columns: int = 4) -> np.ndarray:
    """One picture of all these images: truth in green, what was found in red, the Dice below.

    Returns:
        uint8 (rows · TILE, columns · TILE, 3), blue, green, red.
    """
    found = dict(masks(run, competition, tta, ids))
    tiles = [tile(competition, image_id, found[image_id]) for image_id in ids if image_id in found]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[row : row + columns]) for row in range(0, len(tiles), columns)])


def tile(competition: Competition, image_id: str, found: np.ndarray) -> np.ndarray:
    """One image with both outlines and its Dice, uint8 (TILE, TILE, 3)."""
    truth = rle.union(competition.labels[image_id], competition.shape, image_id)
    pixels = dicom.read(competition.train[image_id]).pixels
    canvas = cv2.cvtColor(cv2.resize(pixels, (TILE, TILE), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)
    for mask, colour in ((truth, TRUTH), (found, FOUND)):
        small = cv2.resize(mask.astype(np.uint8), (TILE, TILE), interpolation=cv2.INTER_AREA)
        outlines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, colour, 1, cv2.LINE_AA)
    text = f"Dice {scoring.dice(found, truth):.2f}"
    cv2.putText(canvas, text, (8, TILE - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def write(path: Path, picture: np.ndarray) -> None:
    """Writes a picture as PNG."""
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
