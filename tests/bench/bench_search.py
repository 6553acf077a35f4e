"""The threshold search against a labelling a level, and against the loop over thresholds that people write."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from kit.inference.rules import ComponentRule
from kit.thresholds.components import sweep
from kit.thresholds.exact import LevelSearch
from kit.thresholds.tables import Components, Histograms, dice
from kit.thresholds.triplet import TripletSearch
from tests.bench.measure import Measure, Row, fixed, in_turn

IMAGES, SOME, SIZE = 9, 3, 1024
COMPETITION = 12_047
"""Training images of the second round."""
LOWEST = 13
"""p = 0.05: no rule binarises below."""
REMOVALS = np.arange(0, 20 * 256, 256)
STEP = 9
"""Of the levels that are labelled, one in so many."""


def rows() -> list[Row]:
    """A row a measurement."""
    trained, grey = _maps(11, 2, 7), _maps(3, 1, 2)
    return [
        _tables(*trained),
        _triplet(),
        *_components("a trained network", *trained, 20, 1000),
        *_grey(*grey),
    ]


def _maps(coarse: float, fine: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps at a quarter of the size.

    As of a trained network (11, 2, 7) a third of the pixels lie above 0 and 8 % above 0.05; undertrained ones (3, 1, 2)
    are grey all over.
    """
    rng = np.random.default_rng(0)
    maps, masks = np.empty((IMAGES, SIZE, SIZE), np.uint8), np.empty((IMAGES, SIZE, SIZE), bool)
    for index in range(IMAGES):
        far, near = (cv2.GaussianBlur(rng.normal(size=(256, 256)), (0, 0), sigma) * sigma for sigma in (12, 2))
        logit = coarse * far + fine * near - offset - (0 if index % 3 == 0 else 1)
        levels = np.rint(255 / (1 + np.exp(-logit))).astype(np.uint8)
        maps[index] = cv2.resize(levels, (SIZE, SIZE))
        masks[index] = (maps[index] > 100) & (index % 3 == 0)
    return maps, masks


def _tables(maps: np.ndarray, masks: np.ndarray) -> Row:
    with TemporaryDirectory() as folder:
        for name, array in (("maps", maps), ("masks", masks)):
            np.save(Path(folder) / name, array)

        def stored() -> list[np.ndarray]:
            return [np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("maps", "masks")]

        def ours() -> None:
            tables = Histograms(IMAGES)
            for index, (levels, mask) in enumerate(zip(*stored(), strict=True)):
                tables.add(index, levels, mask)

        def theirs() -> None:
            levels, mask = stored()[0][0], stored()[1][0]
            for level in range(0, 256, STEP):
                np.count_nonzero((levels >= level) & mask)
                np.count_nonzero(levels >= level)

        found, loop, bare = in_turn(ours, theirs, lambda: [array.sum() for array in stored()])
    return Row(
        "tables of a 1024² map on the disk",
        found.per(IMAGES),
        loop.per(1 / STEP),
        "a comparison a level",
        bare.per(IMAGES),
        "sum of map and mask",
        "histogram of the map, one table look-up a pixel",
    )


def _competition() -> Histograms:
    rng = np.random.default_rng(0)
    tables = Histograms(COMPETITION)
    tables.pixels[:] = SIZE * SIZE
    tables.area[:] = np.sort(rng.integers(0, 40_000, (256, COMPETITION)), axis=0)[::-1]
    tables.overlap[:] = tables.area * rng.random(COMPETITION)
    tables.overlap[:, rng.random(COMPETITION) < 0.78] = 0
    return tables


def _triplet() -> Row:
    search = TripletSearch(_competition(), REMOVALS.tolist() + list(range(6_000, 18_000, 1_000)))
    (found,) = in_turn(lambda: search.best(np.ones(COMPETITION)))
    return Row(
        f"triplet: 256 × 256 × 32 thresholds, {COMPETITION:,} images, float64",
        found,
        limit=fixed(3.0),
        bound="3 s, as a matrix product",
        bottleneck="256 × 256 additions an image",
        share=1,
    )


def _components(kind: str, maps: np.ndarray, masks: np.ndarray, by_labelling: float, by_loop: float) -> list[Row]:
    found, loop, labelling = _measured(maps, masks)
    upper, _ = in_turn(
        lambda: [sweep(levels, mask, LOWEST) for levels, mask in zip(maps, masks, strict=True)], lambda: None
    )
    above = _total(one for level, one in labelling.items() if level >= LOWEST)
    named = f"component, maps of {kind}"
    bottleneck = "joining pixels, at random places of memory"
    why = "the sweep visits each pixel above 0 whatever its level, and labellings of nearly empty levels cost least"
    return [
        Row(
            f"{named}: 256 levels × 20 removals, an image",
            found,
            _total(labelling.values()),
            "a labelling a level",
            bottleneck=bottleneck,
            times=by_labelling,
            why=why,
        ),
        Row(f"{named}: levels ≥ {LOWEST}", upper.per(IMAGES), above, "a labelling a level", times=300, why=why),
        Row(
            f"{named}: 256 × 20 thresholds",
            found,
            loop.per(SOME / (256 * 20)),
            "the usual loop",
            times=by_loop,
            why=why,
        ),
    ]


def _grey(maps: np.ndarray, masks: np.ndarray) -> list[Row]:
    found, _, labelling = _measured(maps, masks)
    return [
        Row(
            "component, grey undertrained maps: 256 levels × 20 removals, an image",
            found,
            _total(labelling.values()),
            "a labelling a level",
            bottleneck="every pixel is joined, and each level has thousands of components",
            times=20,
        )
    ]


def _measured(maps: np.ndarray, masks: np.ndarray) -> tuple[Measure, Measure, dict[int, Measure]]:
    """The whole surface an image, one setting of the usual loop, and a labelling of an image at some levels."""

    def surface() -> None:
        tables = Components(IMAGES)
        for index, (levels, mask) in enumerate(zip(maps, masks, strict=True)):
            tables.add(index, levels, mask)
        LevelSearch(ComponentRule, tables, REMOVALS).best(np.ones(IMAGES))

    def settings() -> None:
        for levels, mask in zip(maps[:SOME], masks, strict=False):
            predicted = ComponentRule(0.5, 1024).mask(levels)
            dice(*(np.array([np.count_nonzero(array)]) for array in (predicted, predicted & mask, mask)))

    levels = range(4, 256, STEP)
    found, loop, *labelled = in_turn(surface, settings, *(partial(_label, maps[:SOME], level) for level in levels))
    return found.per(IMAGES), loop, {level: one.per(SOME) for level, one in zip(levels, labelled, strict=True)}


def _total(labelled: Iterable[Measure]) -> Measure:
    """Of all levels, by those that were labelled."""
    labelling = list(labelled)
    both = [[getattr(one, name) for one in labelling] for name in ("values", "processor")]
    return Measure(*(tuple(STEP * sum(run) for run in zip(*one, strict=True)) for one in both))


def _label(maps: np.ndarray, level: int) -> None:
    for levels in maps:
        cv2.connectedComponentsWithStatsWithAlgorithm((levels >= level).view(np.uint8), 8, cv2.CV_32S, cv2.CCL_BBDT)
