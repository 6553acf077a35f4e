"""The order of an epoch: which images, in which order, as a function of the seed and the epoch alone."""

import math

import numpy as np

from kit.core.errors import KitError

_LEAST = 0.1
"""An epoch with a `positive_share` has at least this share of the images."""
_ROUNDING = 1e-9
"""How far a product of shares and counts may lie above the whole number that it is meant to be."""


def drawn(positive: np.ndarray, extra: int, weight: float, seed: int, epoch: int) -> np.ndarray:
    """The images that an epoch is made of: all of the data set itself, and a share of the extra ones.

    The share is of extra positives and negatives alike, rounded up, so that every epoch has as many.

    Args:
        positive: bool (N,), whether an image has pneumothorax.
        extra: How many of the images are extra ones, the last.
        weight: The share, in (0, 1].
        epoch: From 0.

    Returns:
        int (M,), ascending, values in [0, N).

    >>> drawn(np.arange(8) % 2 == 0, 4, 0.5, seed=0, epoch=0)
    array([0, 1, 2, 3, 6, 7])
    """
    if not extra or weight == 1:
        return np.arange(len(positive))
    own, [random] = len(positive) - extra, np.random.default_rng([seed, epoch]).spawn(1)
    kinds = [own + np.flatnonzero(kind) for kind in (positive[own:], ~positive[own:])]
    chosen = [random.choice(kind, math.ceil(weight * len(kind) - _ROUNDING), replace=False) for kind in kinds]
    return np.concatenate([np.arange(own), np.sort(np.concatenate(chosen))])


def epoch_order(
    positive: np.ndarray, share: float | None, seed: int, epoch: int, extra: int = 0, weight: float = 1.0
) -> np.ndarray:
    """Row numbers of one epoch, shuffled.

    Without a share every image comes once. With one, positives make up that share of the epoch: every positive
    comes once, and so many negatives are drawn as the share asks for. Where there are too few of either kind for
    that, images come several times, none of them once more before all of their kind have come (`repeats` says so):
    negatives where the share asks for more than there are, positives where the epoch would be shorter than a tenth of
    all images. Where one kind is missing altogether, every image comes once.

    Args:
        positive: bool (N,), whether an image has pneumothorax.
        share: In (0, 1], or None.
        epoch: From 0.
        extra: How many of the images are extra ones, the last.
        weight: Share of these that is `drawn`; the others are left out of all that is said above.

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
    """What an epoch has to show several times, in words; empty where every image comes at most once.

    >>> repeats(np.arange(500) < 498, 0.5)
    '2 negatives are too few for positive_share 0.5: in an epoch of 996 images each comes about 249 times'
    """
    there = int(positive.sum()), int((~positive).sum())
    counts = _counts(*there, share)
    if counts is None:
        kind = "negative" if there[0] else "positive"
        return "" if share is None else f"no image is {kind}: positive_share {share:g} has no effect"
    for kind, have, count in zip(("positives", "negatives"), there, counts, strict=True):
        if count > have:
            return (
                f"{have} {kind} are too few for positive_share {share:g}: in an epoch of {sum(counts)} images each "
                f"comes about {count / have:.3g} times"
            )
    return ""


def _counts(positives: int, negatives: int, share: float | None) -> tuple[int, int] | None:
    """How many of each kind an epoch has; None: every image once."""
    if share is None or not positives or (not negatives and share < 1):
        return None
    wanted = max(positives, math.ceil(share * _LEAST * (positives + negatives) - _ROUNDING))
    return wanted, round(wanted * (1 - share) / share)


def _draw(random: np.random.Generator, rows: np.ndarray, count: int) -> np.ndarray:
    """So many of the rows, none once more before all have come."""
    rounds = max(0, -(-count // len(rows)) - 1) if count else 0
    return np.concatenate([np.tile(rows, rounds), random.choice(rows, count - rounds * len(rows), replace=False)])


def batches(order: np.ndarray, batch_size: int, rank: int = 0, world: int = 1) -> list[np.ndarray]:
    """Cuts an epoch into the batches of one process.

    Steps are cut from the whole order first, then shared out, so that a step is made of the same images however
    many processes there are. A last step that is not full is left out; if it is the only one, it is made of as
    many images as can be shared evenly.

    Args:
        order: int (M,).
        batch_size: Images a step, over all processes.
        world: Number of processes; it divides `batch_size`.

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
