"""Ensembles: the mean of the members' maps, and the stacked probabilities of image classifiers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.core import store
from kit.core.distributed import ALONE, Team
from kit.core.documents import Document, Number, read_document
from kit.core.errors import KitError
from kit.core.files import write_json
from kit.core.store import key_of, read_keys, unreadable_rows
from kit.inference.maps import open_maps, upsample

ROUNDING = 1e-9
"""An upper bound of the rounding error of a weighted mean, so that a mean that is a whole level keeps it."""
CERTAIN = 1e-6
"""Probabilities are clipped this far from 0 and 1, where logits are infinite."""


def average(sources: Sequence[Path], target: Path, team: Team = ALONE, weights: Sequence[float] | None = None) -> bool:
    """Makes the missing mean maps of an ensemble, at the size of its largest maps; returns whether any was missing.

    Args:
        sources: Maps of the same images by each member, .npy (N, h, w) uint8.
        weights: Weight of each member; equal by default.

    Raises:
        KitError: the files are of different images.
    """
    members = [open_maps(source) for source in sources]
    for member in members[1:]:
        if member.ids != members[0].ids:
            raise KitError(f"{member.name}: has other images than {members[0].name}: remove both and predict again")
    shape = max(member.array.shape[1:] for member in members)
    keys = mean_keys([read_keys(source) for source in sources], weights)
    skipped = np.any([unreadable_rows(source) for source in sources], axis=0)  # (N,)
    array = store.Array(target, members[0].ids, keys, shape)

    def make(rows: Sequence[int]) -> store.Made:
        for index in rows:
            if skipped[index]:
                yield index, KitError(f"{members[0].ids[index]}: could not be predicted")
            else:
                yield index, [mean([member[index] for member in members], weights)]

    done, _ = store.fill([array], make, team, skip_unreadable=True)
    return done


def mean_keys(keys: Sequence[Sequence[bytes]], weights: Sequence[float] | None = None) -> list[bytes]:
    """Returns the store key of each image's mean map, from the keys of each member's maps."""
    prefix = [] if weights is None else [repr(list(weights))]
    return [key_of(*prefix, *parts) for parts in zip(*keys, strict=True)]


def mean(maps: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Returns the mean of several maps of one image, uint8 (h, w) each, at the size of the largest.

    The mean is rounded down, like all levels (`maps.to_levels`).

    Args:
        weights: Weight of each map; equal by default.

    >>> mean([np.array([[10, 20]], np.uint8), np.array([[11, 30]], np.uint8)])
    array([[10, 25]], dtype=uint8)
    >>> mean([np.array([[10, 20]], np.uint8), np.array([[11, 30]], np.uint8)], [0.6, 0.2])
    array([[10, 22]], dtype=uint8)
    """
    shape = max(levels.shape for levels in maps)
    enlarged = [upsample(levels, shape) for levels in maps]
    if weights is None:
        total = np.stack(enlarged).sum(axis=0, dtype=np.uint32)
        return (total // len(enlarged)).astype(np.uint8)
    weighted = np.tensordot(np.asarray(weights, np.float64), np.stack(enlarged), axes=1)
    return np.floor(weighted / sum(weights) + ROUNDING).astype(np.uint8)


class Stack(Document):
    """A logistic regression on the members' logits, stored as plain numbers, so that applying it needs no library."""

    members: list[str]
    weights: list[Number]
    """One weight a member."""
    bias: Number

    def probability(self, members: np.ndarray) -> np.ndarray:
        """P(the image has any pneumothorax) by all members together.

        Args:
            members: Probability by each member, (N, M).

        Returns:
            float64 (N,).

        >>> Stack(members=["a", "b"], weights=[1, 1], bias=0).probability(np.array([[0.5, 0.8]])).round(6).tolist()
        [0.8]
        """
        return 1 / (1 + np.exp(-(_logits(members) @ np.asarray(self.weights) + self.bias)))

    def write(self, path: Path) -> None:
        """Writes the stack as JSON."""
        write_json(path, self.model_dump())


def read_stack(path: Path, members: Sequence[str]) -> Stack:
    """Reads a stack and checks that it belongs to these members."""
    stack: Stack = read_document(path, Stack, "run `make train` again")
    if stack.members != list(members) or len(stack.weights) != len(members):
        content = f"{len(stack.weights)} weights for {', '.join(stack.members)}"
        raise KitError(
            f"{path}: has {content}; the recipe's classifiers are {', '.join(members)}: run `make train` again"
        )
    return stack


def fit_stack(names: Sequence[str], members: np.ndarray, positive: np.ndarray) -> Stack:
    """Fits the stack on out-of-fold probabilities.

    Args:
        members: Probability by each member, (N, M).
        positive: Whether each image has pneumothorax, bool (N,).

    Raises:
        KitError: all images are positive, or all are negative.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and prediction does not need it

    if positive.all() or not positive.any():
        raise KitError("classifiers cannot be stacked: the images are all of one kind: give some of each")
    regression = LogisticRegression(max_iter=1000).fit(_logits(members), positive)
    return Stack(members=list(names), weights=regression.coef_[0].tolist(), bias=float(regression.intercept_[0]))


def nested_probability(
    members: np.ndarray, positive: np.ndarray, groups: np.ndarray, excluded: frozenset[int] = frozenset()
) -> np.ndarray:
    """P(pneumothorax) of each image by a stack that is fitted on all other groups, float64 (N,).

    Args:
        members: Out-of-fold probability by each member, (N, M).
        positive: bool (N,).
        groups: Number of each image's group, (N,): its fold.
        excluded: Groups that no stack is fitted on. If only one group remains, its own stack is fitted on that group.
    """
    probability = np.empty(len(groups))
    included = ~np.isin(groups, list(excluded))
    for group in np.unique(groups):
        rows = groups == group
        others = included & ~rows if (included & ~rows).any() else included
        probability[rows] = fit_stack([], members[others], positive[others]).probability(members[rows])
    return probability


def _logits(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(probabilities.astype(np.float64), CERTAIN, 1 - CERTAIN)
    return np.log(clipped / (1 - clipped))
