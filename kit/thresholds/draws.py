"""How the best thresholds move when the images are drawn anew: the optimum of each of many bootstrap draws.

The maximum of one surface can be a needle. The draws share all sorting: a draw is a column of weights, and the sums
over all columns go side by side through the processor's vector registers, in single precision. What is found is the
best of its draw to about 1e-5 of mean Dice, which is far below what one image more or less changes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kit.competition.scoring import FULL_AREA
from kit.core.compiled import compiled
from kit.core.parallel import ordered
from kit.core.progress import progress
from kit.inference.maps import PROBABILITIES
from kit.inference.rules import Rule, parameters
from kit.thresholds.search import ComponentSearch, ImageSearch, LevelSearch, Search
from kit.thresholds.triplet import TripletSearch

BATCH = 1024
"""Draws that are evaluated at a time: a batch takes 4 KB per image."""
_LANES = 64
_TILE = 16


def patient_draws(weights: np.ndarray, patients: Sequence[str], count: int, seed: int = 0) -> np.ndarray:
    """Weights of the images in each draw of as many patients as there are, with all their images.

    Args:
        weights: How much each image counts, (N,).
        patients: Of each image, (N,).
        count: Number of draws.
        seed: The same seed gives the same draws.

    Returns:
        float64 (count, N).
    """
    patient = np.unique(patients, return_inverse=True)[1]
    rng, size = np.random.default_rng(seed), patient.max() + 1
    counts = (np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(count))
    return np.stack([weights * drawn[patient] for drawn in counts])


def optima(search: Search[Any], draws: np.ndarray) -> list[Rule]:
    """The best rule of each draw, among all levels and all values of `removal` that make a difference.

    Args:
        search: Of a rule. The three with levels go side by side; any other is searched draw after draw.
        draws: Weights of the images, (D, N).

    Returns:
        A rule a draw.
    """
    if not isinstance(search, ImageSearch | ComponentSearch | TripletSearch) or search.removal is not None:
        return list(progress(ordered(search.best, draws), "draws", len(draws)))
    found: list[Rule] = []
    for first in progress(range(0, len(draws), BATCH), "draws", -(-len(draws) // BATCH), unit="batch"):
        batch = draws[first : first + BATCH]
        levels = _triplets(search, batch) if isinstance(search, TripletSearch) else _levels(search, batch)
        removal = _removals(search, levels, batch)
        for at, pixels in zip(PROBABILITIES[levels].tolist(), removal.tolist(), strict=True):
            found.append(search.kind(removal=pixels, **dict(zip(search.axes, at, strict=True))))
    return found


def spread(search: Search[Any], names: Sequence[str], draws: np.ndarray) -> dict[str, list[float]]:
    """The 2.5th, 50th and 97.5th percentile of some thresholds over the best rules of the draws (D, N).

    The middle one is the median of the optima, which moves less than the optimum of all images.
    """
    found = [parameters(rule) for rule in optima(search, draws)] if names else []
    return {name: np.percentile([rule[name] for rule in found], [2.5, 50, 97.5]).tolist() for name in names}


def _removals(search: LevelSearch[Any], levels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The `removal` that is best for each draw at its levels (D, axes): the middle of its step, (D,)."""
    removal = np.empty(len(draws), np.int64)
    for at in np.unique(levels, axis=0):
        own = np.flatnonzero((levels == at).all(axis=1))
        steps = search.steps(*at.tolist())
        order = np.argsort(-steps.size, kind="stable")
        image, size, gain = (column[order] for column in steps)
        ends = np.flatnonzero(_ends(size))
        sums = np.cumsum(draws[np.ix_(own, image)] * gain, axis=1)[:, ends]  # (d, sizes)
        best = np.concatenate([np.zeros((len(own), 1)), sums], axis=1).argmax(axis=1)  # 0: nothing stands
        upper = np.concatenate([[FULL_AREA + 1], size[ends]])
        lower = np.append(upper[1:] + 1, 0)
        removal[own] = (lower[best] + upper[best]) // 2
    return removal


def _levels(search: ImageSearch | ComponentSearch, draws: np.ndarray) -> np.ndarray:
    """The level at which each draw is best, (D, 1)."""
    blocks = _blocks(draws)

    def at(level: int) -> np.ndarray:
        steps = search.steps(level)
        order = np.argsort(-steps.size, kind="stable")
        image, size, gain = (column[order] for column in steps)
        return _highest(image, gain.astype(np.float32), _shut(size), blocks)

    return np.stack(list(ordered(at, range(256))))[:, : len(draws)].argmax(axis=0)[:, None]


def _triplets(search: TripletSearch, draws: np.ndarray) -> np.ndarray:
    """Top and binarization at which each draw is best, (D, 2)."""
    tables, blocks = search.tables, _blocks(draws)
    gain = tables.gain().astype(np.float32)  # (256, N)
    tiles = np.ascontiguousarray(gain.reshape(256 // _TILE, _TILE, -1).transpose(0, 2, 1))  # (T, N, tile)
    everything = np.stack([gain @ block for block in blocks])  # (B, 256, lanes)

    def at(top: int) -> tuple[np.ndarray, np.ndarray]:
        size = tables.size(top)
        order = np.argsort(-size, kind="stable")[: np.count_nonzero(size)]
        return _highest_by_level(order, _shut(size[order]), tiles, blocks, everything)

    heights, levels = (np.stack(columns) for columns in zip(*ordered(at, range(256)), strict=True))  # (256, B · lanes)
    top = heights.argmax(axis=0)[: len(draws)]
    return np.stack([top, levels[top, np.arange(len(draws))]], axis=1)


def _blocks(draws: np.ndarray) -> np.ndarray:
    """Draws (D, N) as blocks that fill the vector registers, the last with draws of no weight, (B, N, lanes)."""
    lanes = np.zeros((-(-len(draws) // _LANES) * _LANES, draws.shape[1]), np.float32)
    lanes[: len(draws)] = draws
    return np.ascontiguousarray(lanes.reshape(-1, _LANES, draws.shape[1]).transpose(0, 2, 1))


def _ends(size: np.ndarray) -> np.ndarray:
    """Whether each of some descending sizes is the last of its equals, (K,)."""
    return np.append(size[1:] != size[:-1], True)[: len(size)]


def _shut(size: np.ndarray) -> np.ndarray:
    """0 for the last of each run of equal sizes, −∞ for the others, which no `removal` tells apart, float32 (K,)."""
    return np.where(_ends(size), 0, -np.inf).astype(np.float32)


@compiled(nogil=True, fastmath={"nnan", "nsz", "contract"})
def _highest(image: np.ndarray, gain: np.ndarray, shut: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """The highest sum of the gains (K,) of the first steps, or of none, for each draw, (B · lanes,)."""
    highest = np.empty((len(blocks), 1, _LANES), np.float32)
    for block in range(len(blocks)):
        _sums(image, gain.reshape(-1, 1), shut, blocks[block], highest[block])
    return highest.ravel()


@compiled(nogil=True, fastmath={"nnan", "nsz", "contract"})
def _highest_by_level(
    order: np.ndarray, shut: np.ndarray, tiles: np.ndarray, blocks: np.ndarray, everything: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The highest sum of the gains of the first images, of none or of `everything`, and its level, for each draw."""
    best = np.full((len(blocks), _LANES), -np.inf, np.float32)
    where = np.zeros((len(blocks), _LANES), np.int64)
    highest = np.empty((_TILE, _LANES), np.float32)
    for tile in range(len(tiles)):
        gain = tiles[tile][order]
        for block in range(len(blocks)):
            _sums(order, gain, shut, blocks[block], highest)
            for level in range(_TILE):
                at = tile * _TILE + level
                for draw in range(_LANES):
                    height = max(highest[level, draw], everything[block, at, draw])
                    if height > best[block, draw]:
                        best[block, draw] = height
                        where[block, draw] = at
    return best.ravel(), where.ravel()


@compiled(nogil=True, fastmath={"nnan", "nsz", "contract"})
def _sums(image: np.ndarray, gain: np.ndarray, shut: np.ndarray, weight: np.ndarray, highest: np.ndarray) -> None:
    """Fills `highest` (T, lanes) with the highest sums of the gains (K, T) of the first steps, or of none.

    The sums of a few levels and a block of draws stay in the nearest cache while the steps go past; four steps at a
    time they stay in registers, where storing them is what takes longest.
    """
    total = np.zeros_like(highest)
    highest[:] = 0
    place = 0
    while place + 4 <= len(image):
        a, b = weight[image[place]], weight[image[place + 1]]
        c, d = weight[image[place + 2]], weight[image[place + 3]]
        shut_a, shut_b, shut_c, shut_d = shut[place], shut[place + 1], shut[place + 2], shut[place + 3]
        for level in range(len(highest)):
            by_a, by_b = gain[place, level], gain[place + 1, level]
            by_c, by_d = gain[place + 2, level], gain[place + 3, level]
            sums, best = total[level], highest[level]
            for draw in range(_LANES):
                after = sums[draw] + by_a * a[draw]
                top = max(best[draw], after + shut_a)
                after += by_b * b[draw]
                top = max(top, after + shut_b)
                after += by_c * c[draw]
                top = max(top, after + shut_c)
                after += by_d * d[draw]
                best[draw] = max(top, after + shut_d)
                sums[draw] = after
        place += 4
    while place < len(image):
        row = weight[image[place]]
        for level in range(len(highest)):
            for draw in range(_LANES):
                total[level, draw] += gain[place, level] * row[draw]
                highest[level, draw] = max(highest[level, draw], total[level, draw] + shut[place])
        place += 1
