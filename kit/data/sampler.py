"""The order of an epoch: which images, in which order, as a function of the seed and the epoch alone."""

import numpy as np

from kit.core.errors import KitError


def epoch_order(positive: np.ndarray, share: float | None, seed: int, epoch: int) -> np.ndarray:
    """Row numbers of one epoch, shuffled.

    Without a share every image comes once. With one, positives make up that share of the epoch: every positive
    comes once and negatives are drawn again without replacement; where there are too few negatives for that, every
    negative comes once and positives are drawn.

    Args:
        positive: bool (N,), whether an image has pneumothorax.
        share: In (0, 1], or None.
        seed: Of the training.
        epoch: From 0.

    Returns:
        int (M,), values in [0, N).

    >>> order = epoch_order(np.arange(100) < 20, 0.5, seed=0, epoch=0)
    >>> len(order), int((order < 20).sum())
    (40, 20)
    """
    random = np.random.default_rng([seed, epoch])
    positives, negatives = np.flatnonzero(positive), np.flatnonzero(~positive)
    if share is None or not len(positives):
        return random.permutation(len(positive))
    wanted = round(len(positives) * (1 - share) / share)
    if wanted <= len(negatives):
        negatives = random.choice(negatives, wanted, replace=False)
    else:
        positives = random.choice(positives, max(1, round(len(negatives) * share / (1 - share))), replace=False)
    return random.permutation(np.concatenate([positives, negatives]))


def batches(order: np.ndarray, batch_size: int, rank: int = 0, world: int = 1) -> list[np.ndarray]:
    """Cuts an epoch into the batches of one process.

    Steps are cut from the whole order first, then shared out, so that a step is made of the same images however
    many processes there are. A last step that is not full is left out; if it is the only one, it is made of as
    many images as can be shared evenly.

    Args:
        order: int (M,).
        batch_size: Images a step, over all processes.
        rank: Number of this process.
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
