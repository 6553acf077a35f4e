"""The data with which the page's gallery applies any thresholds in the browser: pictures, small maps, exact counts.

The Dice of an image under the rules `image`, `triplet` and `expected` follows from the number of its pixels, and of its
foreground pixels, at and above each level. The page has these counts for every image, so that its scores are exact at
full size. Masks by the run's own rule are drawn from full size, too, masks by other thresholds from maps of `MAP_SIDE`.
"""

import base64
import zlib
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pandas as pd

from kit.competition import dicom
from kit.competition.layout import Competition
from kit.competition.scoring import FULL_AREA
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.inference import rules, thresholds_file
from kit.inference.rules import ComponentRule, ExpectedRule
from kit.report import figures
from kit.report.cases import OUTCOMES, Cases
from kit.report.gallery import Outlines, fitted, outlines
from kit.report.subgroups import AREA_BANDS, AREAS
from kit.run import Run

MAP_SIDE = 128
"""Size of the maps in the page, in pixels."""
PICTURED = 1500
"""Maximum number of images with a picture in the page; images with the lowest Dice come first."""
BUDGET = 6_000_000
"""Bytes available for all pictures together, which limits their size."""
SIDES = {512: 20_000, 384: 12_500, 256: 6_000, 192: 3_900}
"""Possible sizes of a picture in pixels, each with the approximate number of bytes."""
QUALITY = 62
"""WebP quality of the pictures."""


def pack(run: Run, cases: Cases, competition: Competition, other: tuple[str, Cases] | None = None) -> dict[str, Any]:
    """Collects everything that the gallery shows as JSON values; `other` is a second run to compare with, by name."""
    rows = sorted(np.lexsort((~cases.positive, cases.table.dice))[:PICTURED].tolist())
    side = next((side for side, size in SIDES.items() if size * len(rows) <= BUDGET), min(SIDES))
    names, other_outlines, other_dice = cases.table.image_id.tolist(), dict[str, Outlines](), pd.Series(dtype=float)
    if other is not None:
        table = other[1].table.set_index("image_id")
        other_outlines = dict(zip(table.index, other[1].outlines, strict=True))
        other_dice = table.dice.reindex(names)

    def image(row: int) -> dict[str, Any]:
        content = _image(cases, competition, row, side)
        return content | ({"other": other_outlines[names[row]]} if names[row] in other_outlines else {})

    images = list(progress(map_in_order(image, rows), "pictures", len(rows)))
    return {
        "cases": {name: figures.plain(cases.table[name]) for name in cases.table},
        "images": images,
        "mapSide": MAP_SIDE,
        "pixels": cases.counts.pixels.tolist(),
        "fullArea": FULL_AREA,
        "weights": cases.weights.round(6).tolist(),
        "truth": cases.counts.truth.tolist(),
        "outcomes": OUTCOMES,
        "finding": competition.finding.name,
        "bands": dict(zip(AREA_BANDS, pairwise(AREAS), strict=True)),
        "area": _deflated(_packed(cases.counts.area)),
        "overlap": _deflated(_packed(cases.counts.overlap[:, cases.positive])),
        "rules": rule_choices(run, cases),
        "other": other and {"name": other[0], "dice": figures.plain(other_dice)},
    }


def rule_choices(run: Run, cases: Cases) -> list[dict[str, Any]]:
    """Returns the rules to choose from in the page with their best thresholds, the rule in use first.

    The masks by the rule in use are known. Masks by the other rules follow from counts, except for `component`.
    """
    in_use, tta = thresholds_file.read(run.thresholds).rule, run.read_recipe().tta
    names = [name for name in rules.RULES if name not in (in_use.name, "component")]
    paths = [run.rule(name, tta=tta) / "thresholds.json" for name in names]
    others = [thresholds_file.read(path).rule for path in paths if path.is_file()]
    return [_choice(in_use, cases) | {"exact": True}, *(_choice(rule, cases) for rule in others)]


def _choice(rule: Any, cases: Cases) -> dict[str, Any]:
    content = dict[str, Any](name=rule.name)
    if isinstance(rule, ComponentRule):
        return content
    if rule.gate is not None:
        content["gate"] = rule.gate
    if isinstance(rule, ExpectedRule):
        return content | {"cut": rule.decide(cases.counts.area, cases.counts.pixels).tolist()}
    content |= {"level": rules.level_of(rule.binarization), "removal": rule.removal}
    if rule.name == "triplet":
        content["top"] = rules.level_of(rule.top)
    return content


def _image(cases: Cases, competition: Competition, row: int, side: int) -> dict[str, Any]:
    """Returns an image's row, aspect ratio, picture (WebP), map (deflated bytes), and outlines of truth and mask."""
    image_id = cases.table.image_id[row]
    pixels = dicom.read(competition.train[image_id]).pixels
    small = cv2.resize(pixels, fitted(pixels.shape, side), interpolation=cv2.INTER_AREA)
    picture = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    levels = cv2.resize(cases.levels(row), (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    return {
        "row": row,
        "aspect": round(pixels.shape[1] / pixels.shape[0], 4),
        "picture": base64.b64encode(picture).decode(),
        "map": _deflated(levels),
        "outline": outlines(competition.truth(image_id)),
        "mask": cases.outlines[row],
    }


def _packed(at_least: np.ndarray) -> np.ndarray:
    """Converts cumulative counts to counts per level, image after image, in four byte planes, which compress best.

    int (256, N) → uint8 (4, N · 256).
    """
    counts = -np.diff(at_least.astype(np.int64), axis=0, append=0).T  # (N, 256)
    return np.ascontiguousarray(counts.astype("<u4")).view(np.uint8).reshape(-1, 4).T


def _deflated(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
