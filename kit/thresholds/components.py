"""The connected components of a map at every level, in one sweep from the highest level to the lowest.

Pixels join a union-find forest in the order of their levels, so each component grows out of the components of higher
levels instead of being labelled again: all 256 levels cost about as much as a few labellings.
"""

import numpy as np

from kit.core.compiled import compiled

# The eight neighbours as a ring (row, column), and whether they come before the pixel in raster order.
_RING = np.array([(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)])
_BEFORE = np.array([True, True, True, False, False, False, False, True])


def _representatives() -> np.ndarray:
    """Returns, for each set of neighbours (a bit each), one neighbour of every component in the set, then -1; (256, 5).

    Neighbours that touch belong to one component already, so a pixel is joined to just one of them.
    """
    table = np.full((256, 5), -1, np.int8)
    for code in range(256):
        left = [bit for bit in range(8) if code >> bit & 1]
        for place in range(4):
            if left:
                reached = [left.pop(0)]
                table[code, place] = reached[0]
                for bit in reached:
                    near = [other for other in left if abs(_RING[other] - _RING[bit]).max() == 1]
                    reached += near
                    left = [other for other in left if other not in near]
    return table


_JOIN = _representatives()


def sweep(levels: np.ndarray, truth: np.ndarray, lowest: int = 0) -> np.ndarray:
    """Measures {v ≥ level} without its 8-connected components below any size, at every level.

    Args:
        levels: uint8 (H, W).
        truth: bool (H, W).
        lowest: Lowest level to measure.

    Returns:
        int32 (K, 4), rows (level, area, kept area, kept overlap): at this level, all components of at least this area
        have this total area and total overlap with the truth. There is a row for each distinct area of a component;
        levels descend, and areas descend within a level.

    >>> sweep(np.array([[9, 0, 0], [0, 0, 5]], np.uint8), np.array([[1, 0, 0], [0, 0, 0]], bool), lowest=5)[-2:]
    array([[6, 1, 1, 1],
           [5, 1, 2, 1]], dtype=int32)
    """
    padded = np.pad(levels, 1).ravel()
    pixels = np.flatnonzero(padded >= max(lowest, 1))
    rows = _sweep(padded, np.pad(truth, 1).ravel(), pixels, levels.shape[1] + 2, max(lowest, 1))
    if lowest > 0:
        return rows
    whole = np.array([[0, levels.size, levels.size, np.count_nonzero(truth)]], np.int32)  # the level 0 needs no sweep
    return np.concatenate([rows, whole])


@compiled(nogil=True)
def _sweep(levels: np.ndarray, truth: np.ndarray, pixels: np.ndarray, width: int, lowest: int) -> np.ndarray:
    """Sweeps the `pixels` ≥ lowest ≥ 1 of a flattened map with `width` pixels a row and a border of zeros."""
    order, count_of = _by_level(levels, pixels)
    offset = _RING[:, 0] * width + _RING[:, 1]
    parent = np.empty(len(levels), np.int32)
    area = np.empty(len(levels), np.int32)  # area of a component, stored at its root
    overlap = np.empty(len(levels), np.int32)
    roots = np.empty(len(levels) // 4 + 1, np.int32)  # an upper bound of the number of components
    alive = 0
    rows = np.empty((1024, 4), np.int32)
    used, begin, done = 0, 0, 0  # rows in use, first row of the level above, pixels done
    for level in range(255, lowest - 1, -1):
        for pixel in order[done : done + count_of[level]]:
            around = 0
            for bit in range(8):
                neighbour = levels[pixel + offset[bit]]
                around |= (neighbour > level or (neighbour == level and _BEFORE[bit])) << bit
            if around == 0:
                root = pixel
                parent[pixel], area[pixel], overlap[pixel] = pixel, 1, truth[pixel]
                roots[alive] = pixel
                alive += 1
                continue
            root = _find(parent, pixel + offset[_JOIN[around, 0]])
            for bit in _JOIN[around, 1:]:
                if bit < 0:
                    break
                other = _find(parent, pixel + offset[bit])
                if other != root:
                    if area[other] > area[root]:
                        root, other = other, root
                    parent[other] = root
                    area[root] += area[other]
                    overlap[root] += overlap[other]
            parent[pixel] = root
            area[root] += 1
            overlap[root] += truth[pixel]
        done += count_of[level]
        if count_of[level] == 0:  # no new pixels: the rows of the level above again
            count = used - begin
            rows = _with_room(rows, used + count)
            rows[used : used + count] = rows[begin:used]
        else:
            alive = _drop_joined(roots, alive, parent)
            rows = _with_room(rows, used + alive)
            count = _sum_by_area(roots[:alive], area, overlap, rows[used:])
        begin = used
        used += count
        rows[begin:used, 0] = level
    return rows[:used].copy()


@compiled(nogil=True)
def _by_level(levels: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts pixels by descending level, in raster order within a level; also returns the number at each level."""
    count = np.zeros(256, np.int64)
    for pixel in pixels:
        count[levels[pixel]] += 1
    place = len(pixels) - np.cumsum(count)  # where each level begins
    order = np.empty(len(pixels), np.int32)
    for pixel in pixels:
        level = levels[pixel]
        order[place[level]] = pixel
        place[level] += 1
    return order, count


@compiled(nogil=True)
def _find(parent: np.ndarray, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled(nogil=True)
def _drop_joined(roots: np.ndarray, alive: int, parent: np.ndarray) -> int:
    kept = 0
    for root in roots[:alive]:
        if parent[root] == root:
            roots[kept] = root
            kept += 1
    return kept


@compiled(nogil=True)
def _with_room(rows: np.ndarray, needed: int) -> np.ndarray:
    if needed <= len(rows):
        return rows
    larger = np.empty((2 * needed, 4), np.int32)
    larger[: len(rows)] = rows
    return larger


@compiled(nogil=True)
def _sum_by_area(roots: np.ndarray, area: np.ndarray, overlap: np.ndarray, rows: np.ndarray) -> int:
    """Writes a row for each distinct area, largest first, with cumulative sums; returns the number of rows."""
    keys = np.empty(len(roots), np.int64)
    for i in range(len(roots)):
        keys[i] = (np.int64(area[roots[i]]) << 32) | overlap[roots[i]]
    keys.sort()
    count, kept_area, kept_overlap = 0, 0, 0
    for i in range(len(keys) - 1, -1, -1):
        size = keys[i] >> 32
        kept_area += size
        kept_overlap += keys[i] & 0xFFFFFFFF
        if count == 0 or rows[count - 1, 1] != size:
            count += 1
        rows[count - 1, 1], rows[count - 1, 2], rows[count - 1, 3] = size, kept_area, kept_overlap
    return count
