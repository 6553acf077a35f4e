"""What the page's gallery needs to apply any thresholds in the browser: pictures, small maps, and exact counts.

The Dice of an image under the rules `image`, `triplet` and `expected` follows from how many of its pixels, and how
many of them foreground, lie at and above each level. These counts are in the page for every image, so the browser's
figures are those of full size. The masks that it draws, and what `component` removes, come from maps of `MAP_SIDE`
pixels a side.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kit.competition import dicom
from kit.competition.layout import Competition
from kit.competition.scoring import FULL_AREA
from kit.core.arrays import read_arrays
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.inference import maps, rules
from kit.inference.rules import ExpectedRule, GatedRule, Rule
from kit.inference.thresholds_file import read_measured, search_of
from kit.report import figures
from kit.report.cases import OUTCOMES, Cases
from kit.report.gallery import fitted
from kit.report.subgroups import AREA_BANDS, AREAS
from kit.run import Run

MAP_SIDE = 128
"""Pixels a side of the maps in the page."""
PICTURED = 1500
"""Images with a picture in the page; of more, those are left out on which nothing went wrong."""
BUDGET = 6_000_000
"""Bytes of all pictures together, which decides their size."""
SIDES = {512: 20_000, 384: 12_500, 256: 6_000, 192: 3_900}
"""Pixels a side that a picture may have, with about the bytes that it then takes."""
QUALITY = 62
"""Of the pictures, as WebP."""


class Other(NamedTuple):
    """A run that another one is compared with."""

    name: str
    run: Run
    cases: Cases


def pack(run: Run, cases: Cases, competition: Competition, other: Other | None = None) -> dict[str, Any]:
    """Everything that the gallery shows and counts, as JSON values."""
    rows = pictured(cases)
    side = next((side for side, size in SIDES.items() if size * len(rows) <= BUDGET), min(SIDES))

    def image(row: int) -> dict[str, Any]:
        return _image(cases, competition, row, side) | _beside(other, rows_of_other, competition, names[row])

    names = cases.table.image_id.tolist()
    rows_of_other = {name: row for row, name in enumerate(other.cases.table.image_id)} if other else {}
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
        "other": other and {"name": other.name, "dice": _dice_of(other, names)},
    }


def _dice_of(other: Other, names: Sequence[str]) -> list[float | None]:
    """The other run's Dice of images; None of those that it has not predicted."""
    return figures.plain(other.cases.table.set_index("image_id").dice.reindex(names))


def _beside(other: Other | None, rows: Mapping[str, int], competition: Competition, name: str) -> dict[str, Any]:
    """The outlines of another run's mask of an image, where there is one."""
    if other is None or name not in rows:
        return {}
    row, rule = rows[name], rules.read(other.run.thresholds)
    gate = (other.cases.table.image_probability[row],) if isinstance(rule, GatedRule) else ()
    return {"other": outlines(rule.mask(maps.upsample(other.cases.levels(row), competition.shape), *gate))}


def pictured(cases: Cases) -> list[int]:
    """Rows of the images that get a picture: all, or where there are too many those with the lowest Dice."""
    order = np.lexsort((~cases.positive, cases.table.dice))
    return sorted(order[:PICTURED].tolist())


def rule_choices(run: Run, cases: Cases) -> list[dict[str, Any]]:
    """The rules to choose from in the page, the run's own first, each with its best thresholds.

    What the run's own makes of each image is known: counts do not tell it of cleaned masks and those of `component`,
    which comes with its surface, for the Dice of all images.
    """
    recipe = run.read_recipe()
    chosen = read_measured(run.thresholds)
    folders = {name: run.rule(name, recipe.tta) for name in rules.RULES}
    folders[chosen["rule"]] = run.rule(search_of(chosen), recipe.tta)
    names = sorted(
        (name for name in folders if (folders[name] / "thresholds.json").is_file()), key=lambda n: n != chosen["rule"]
    )
    own, *others = (_choice(rules.read(folders[name] / "thresholds.json"), folders[name], cases) for name in names)
    return [own | {"exact": True}, *others]


def _choice(rule: Rule, folder: Path, cases: Cases) -> dict[str, Any]:
    inner = rules.bare(rule)
    content: dict[str, Any] = {
        "name": rule.name,
        "dice": read_measured(folder / "thresholds.json")["apparent_dice"],
    }
    if isinstance(rule, GatedRule):
        content["gate"] = rule.gate
    if isinstance(inner, ExpectedRule):
        return content | {"cut": inner.decide(cases.counts.area, cases.counts.pixels).tolist()}
    content |= {"level": rules.level_of(inner.binarization), "removal": inner.removal}
    if rule.name == "triplet":
        content["top"] = rules.level_of(inner.top)
    if rule.name == "component" and (folder / "surface.npz").is_file():
        surface = read_arrays(folder / "surface.npz", "removal", "dice")
        content |= {"removals": surface["removal"].tolist(), "surface": _deflated(surface["dice"].astype("<f4"))}
    return content


def _image(cases: Cases, competition: Competition, row: int, side: int) -> dict[str, Any]:
    """One image's row and shape, its picture (WebP), its map and truth (deflated bytes), its truth's outlines."""
    image_id = cases.table.image_id[row]
    pixels, truth = dicom.read(competition.train[image_id]).pixels, competition.truth(image_id)
    small = cv2.resize(pixels, fitted(pixels.shape, side), interpolation=cv2.INTER_AREA)
    picture = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    levels = cv2.resize(cases.levels(row), (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(truth.astype(np.float32), (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA) >= 0.5
    return {
        "row": row,
        "aspect": round(pixels.shape[1] / pixels.shape[0], 4),
        "picture": base64.b64encode(picture).decode(),
        "map": _deflated(np.stack([levels, coarse.astype(np.uint8)])),
        "outline": outlines(truth),
    }


def outlines(mask: np.ndarray) -> list[list[int]]:
    """The borders of a mask, each as x, y, x, y, … in thousandths of the image's sides. bool (H, W).

    >>> outlines(np.zeros((4, 4), bool))
    []
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = 1000 / np.array(mask.shape[::-1])
    smooth = [cv2.approxPolyDP(border, max(mask.shape) / 700, True) for border in found]
    return [np.rint((border[:, 0] + 0.5) * scale).astype(int).ravel().tolist() for border in smooth if len(border) > 2]


def _packed(at_least: np.ndarray) -> np.ndarray:
    """Counts at each level alone, image after image, their four bytes in planes of their own: it packs best.

    int (256, N) → uint8 (4, N · 256).
    """
    counts = -np.diff(at_least.astype(np.int64), axis=0, append=0).T  # (N, 256)
    return np.ascontiguousarray(counts.astype("<u4")).view(np.uint8).reshape(-1, 4).T


def _deflated(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
