"""The images of an epoch and their order, as a function of only the seed and the epoch."""

import math

import numpy as np

from kit.core.errors import KitError

_LEAST = 0.1
"""Minimal length of an epoch with a `positive_share`, as a share of all images."""
_ROUNDING = 1e-9
"""Tolerance for products of shares and counts that should be whole numbers."""


def drawn(positive: np.ndarray, extra: int, weight: float, seed: int, epoch: int) -> np.ndarray:
    """Draws the images of an epoch: all of the main data set, and a share of the extra data.

    The same share of extra positives and of extra negatives is drawn, rounded up, so that all epochs are equally long.

    Args:
        positive: bool (N,), whether an image has pneumothorax.
        extra: Number of extra images, which come last.
        weight: Share of the extra images, in (0, 1].
        epoch: Number of the epoch, from 0.

    Returns:
        int (M,), ascending, values in [0, N).

    >>> drawn(np.arange(8) % 2 == 0, 4, 0.5, seed=0, epoch=0)
    array([0, 1, 2, 3, 6, 7])
    """
    if not extra or weight == 1:
        return np.arange(len(positive))
    main = len(positive) - extra
    [random] = np.random.default_rng([seed, epoch]).spawn(1)  # independent of the shuffling of the epoch
    kinds = [main + np.flatnonzero(kind) for kind in (positive[main:], ~positive[main:])]
    chosen = [random.choice(kind, math.ceil(weight * len(kind) - _ROUNDING), replace=False) for kind in kinds]
    return np.concatenate([np.arange(main), np.sort(np.concatenate(chosen))])


def epoch_order(
    positive: np.ndarray, share: float | None, seed: int, epoch: int, extra: int = 0, weight: float = 1.0
) -> np.ndarray:
    """Returns the row numbers of one epoch, shuffled.

    Without a share, every image comes once. With a share, every positive comes once, and as many negatives are drawn
    as the share requires. Images are repeated (see `repeats`) if there are too few: negatives if the share requires
    more than there are, positives if the epoch would be shorter than a tenth of all images. No image comes again
    before all others of its kind have come. If there are no positives or no negatives, every image comes once.

    Args:
        positive: bool (N,), whether an image has pneumothorax.
        share: Share of positives in (0, 1], or None.
        epoch: Number of the epoch, from 0.
        extra: Number of extra images, which come last.
        weight: Share of the extra images that is `drawn`; the rest is left out of the epoch.

    Returns:
        int (M,), values in [0, N).

    >>> order = epoch_order(np.arange(100) < 20, 0.5, seed=0, epoch=0)
    >>> len(order), int((order < 20).sum())
    (40, 20)
    """
    random, rows = np.random.default_rng([seed, epoch]), drawn(positive, extra, weight, seed, epoch)
    positives, negatives = rows[positive[rows]], rows[~positive[rows]]
    counts = _counts(len(positives), len(negatives), share)
    if counts is None:
        return random.permutation(rows)
    if counts[0] > len(positives):
        positives = np.concatenate([positives, _draw(random, positives, counts[0] - len(positives))])
    return random.permutation(np.concatenate([positives, _draw(random, negatives, counts[1])]))


def repeats(positive: np.ndarray, share: float | None) -> str:
    """Describes which images an epoch repeats; empty if every image comes at most once.

    >>> repeats(np.arange(500) < 498, 0.5)
    '2 negatives are too few for positive_share 0.5: in an epoch of 996 images each comes about 249 times'
    """
    existing = int(positive.sum()), int((~positive).sum())
    counts = _counts(*existing, share)
    if counts is None:
        kind = "negative" if existing[0] else "positive"
        return "" if share is None else f"no image is {kind}: positive_share {share:g} has no effect"
    for kind, number, count in zip(("positives", "negatives"), existing, counts, strict=True):
        if count > number:
            return (
                f"{number} {kind} are too few for positive_share {share:g}: in an epoch of {sum(counts)} images each "
                f"comes about {count / number:.3g} times"
            )
    return ""


def _counts(positives: int, negatives: int, share: float | None) -> tuple[int, int] | None:
    """Returns the numbers of positives and negatives in an epoch, or None if every image comes once."""
    if share is None or not positives or (not negatives and share < 1):
        return None
    count = max(positives, math.ceil(share * _LEAST * (positives + negatives) - _ROUNDING))
    return count, round(count * (1 - share) / share)


def _draw(random: np.random.Generator, rows: np.ndarray, count: int) -> np.ndarray:
    """Draws `count` rows; none is repeated before all have been drawn."""
    rounds = max(0, -(-count // len(rows)) - 1) if count else 0
    return np.concatenate([np.tile(rows, rounds), random.choice(rows, count - rounds * len(rows), replace=False)])


def batches(order: np.ndarray, batch_size: int, rank: int = 0, world: int = 1) -> list[np.ndarray]:
    """Returns the batches of one process.

    The whole order is first cut into steps, and each step is then divided among the processes, so that a step has the
    same images for any number of processes. A last step that is not full is left out; if it is the only one, it has as
    many images as can be divided evenly.

    Args:
        order: int (M,).
        batch_size: Images per step, over all processes.
        world: Number of processes, a divisor of `batch_size`.

    Raises:
        KitError: there are fewer images than processes.

    >>> batches(np.arange(7), 2), batches(np.arange(3), 4, rank=1, world=2)
    ([array([0, 1]), array([2, 3]), array([4, 5])], [array([1])])
    """
    size = min(batch_size, len(order) // world * world)
    if not size:
        raise KitError(f"an epoch has {len(order)} images, too few for {world} processes: start fewer, or add images")
    whole = len(order) // size * size
    return [step[rank::world] for step in order[:whole].reshape(-1, size)]
