"""The threshold search against a labelling a level, and against the loop over thresholds that people write."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from kit.inference.rules import ComponentRule
from kit.thresholds.components import sweep
from kit.thresholds.search import ComponentSearch
from kit.thresholds.tables import Components, Histograms, dice
from kit.thresholds.triplet import TripletSearch

IMAGES, SIZE = 12, 1024
COMPETITION = 12_047
"""Training images of the second round."""
LOWEST = 13
"""p = 0.05: no rule binarises below."""
REMOVALS = np.arange(0, 20 * 256, 256)


def rows() -> list[dict[str, str]]:
    """A row a measurement."""
    maps, masks = _maps()
    return [_tables(maps, masks), _triplet(), *_components(maps, masks)]


def _maps() -> tuple[np.ndarray, np.ndarray]:
    """Maps as a trained network makes them at a quarter of the size: a third of the pixels above 0, 8 % above 0.05."""
    rng = np.random.default_rng(0)
    maps, masks = np.empty((IMAGES, SIZE, SIZE), np.uint8), np.empty((IMAGES, SIZE, SIZE), bool)
    for index in range(IMAGES):
        coarse, fine = (cv2.GaussianBlur(rng.normal(size=(256, 256)), (0, 0), sigma) * sigma for sigma in (12, 2))
        logit = 11 * coarse + 2 * fine - (7 if index % 3 == 0 else 8)
        levels = np.rint(255 / (1 + np.exp(-logit))).astype(np.uint8)
        maps[index] = cv2.resize(levels, (SIZE, SIZE))
        masks[index] = (maps[index] > 100) & (index % 3 == 0)
    return maps, masks


def _tables(maps: np.ndarray, masks: np.ndarray) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        for name, array in (("maps", maps), ("masks", masks)):
            np.save(Path(folder) / name, array)

        def read() -> None:
            stored = (np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("maps", "masks"))
            tables = Histograms(IMAGES)
            for index, (levels, mask) in enumerate(zip(*stored, strict=True)):
                tables.add(index, levels, mask)

        ours = _seconds(read) / IMAGES
    return _row("tables of a 1024×1024 map on the disk", ours, limit="3 ms")


def _triplet() -> dict[str, str]:
    rng = np.random.default_rng(0)
    tables = Histograms(COMPETITION)
    tables.pixels = SIZE * SIZE
    tables.area[:] = np.sort(rng.integers(0, 40_000, (256, COMPETITION)), axis=0)[::-1]
    tables.overlap[:] = tables.area * rng.random(COMPETITION)
    tables.overlap[:, rng.random(COMPETITION) < 0.78] = 0
    search = TripletSearch(tables, REMOVALS.tolist() + list(range(6_000, 18_000, 1_000)))
    search.best(np.ones(COMPETITION))
    ours = _seconds(lambda: search.best(np.ones(COMPETITION)))
    return _row(f"triplet: 256 × 256 × 32 thresholds, {COMPETITION:,} images, float64", ours, limit="3000 ms")


def _components(maps: np.ndarray, masks: np.ndarray) -> list[dict[str, str]]:
    def whole_surface() -> None:
        tables = Components(IMAGES)
        for index, (levels, mask) in enumerate(zip(maps, masks, strict=True)):
            tables.add(index, levels, mask)
        ComponentSearch(tables, REMOVALS).best(np.ones(IMAGES))

    whole_surface()
    ours = _seconds(whole_surface) / IMAGES
    upper = _seconds(lambda: [sweep(levels, mask, LOWEST) for levels, mask in zip(maps, masks, strict=True)]) / IMAGES
    some, step = maps[:3], 9
    labelling = {
        level: _seconds(lambda level=level: [_label(levels, level) for levels in some]) / len(some)
        for level in range(4, 256, step)
    }
    all_levels = step * sum(labelling.values())
    upper_levels = step * sum(seconds for level, seconds in labelling.items() if level >= LOWEST)
    setting = _seconds(lambda: [_one_setting(levels, mask) for levels, mask in zip(some, masks, strict=False)]) / len(
        some
    )
    return [
        _row("component: 256 levels × 20 removals, an image; a labelling a level", ours, all_levels, "20×"),
        _row(f"component: sizes and overlaps at levels ≥ {LOWEST}; a labelling a level", upper, upper_levels, "300×"),
        _row("component: 256 × 20 thresholds, an image; the usual loop", ours, 256 * 20 * setting, "1000×"),
        _row("component: 256 × 20 thresholds, an image; the usual loop over 15 × 7", ours, 15 * 7 * setting),
    ]


def _label(levels: np.ndarray, level: int) -> None:
    cv2.connectedComponentsWithStatsWithAlgorithm((levels >= level).view(np.uint8), 8, cv2.CV_32S, cv2.CCL_BBDT)


def _one_setting(levels: np.ndarray, mask: np.ndarray) -> None:
    """What the loops do for each pair of thresholds: binarise, label, remove, Dice."""
    predicted = ComponentRule(0.5, 1024).mask(levels)
    dice(*(np.array([np.count_nonzero(array)]) for array in (predicted, predicted & mask, mask)))


def _seconds(action, repeats: int = 3) -> float:
    """The fastest of a few runs."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


def _row(what: str, ours: float, reference: float | None = None, limit: str = "") -> dict[str, str]:
    return {
        "what": what,
        "ours": f"{1000 * ours:.2f} ms",
        "reference": "" if reference is None else f"{1000 * reference:.0f} ms",
        "ratio": "" if reference is None else f"{reference / ours:.0f}×",
        "limit": limit,
    }
