"""Ensembles: the mean of the members' maps, and a stack of their verdicts on whole images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.core import store
from kit.core.distributed import ALONE, Team
from kit.core.documents import Document, Number, read_document
from kit.core.errors import KitError
from kit.core.files import write_json
from kit.core.store import key_of, read_keys, unreadable
from kit.inference.maps import open_maps, upsample

ROUNDING = 1e-9
"""More than the rounding of a weighted mean of levels; a mean that is a whole level keeps it."""
CERTAIN = 1e-6
"""Probabilities are kept this far from 0 and 1, where logits end."""


def average(sources: Sequence[Path], target: Path, team: Team = ALONE, weights: Sequence[float] | None = None) -> bool:
    """Makes the mean of some members' maps, at the size of the largest; whether any map was missing.

    Args:
        sources: Maps of the same images, .npy (N, h, w) uint8 each.
        weights: How much each member counts; None: all the same.

    Raises:
        KitError: the files hold other images than one another.
    """
    members = [open_maps(source) for source in sources]
    for member in members[1:]:
        if member.ids != members[0].ids:
            raise KitError(f"{member.name}: has other images than {members[0].name}: remove both and predict again")
    shape = max(member.array.shape[1:] for member in members)
    keys = mean_keys([read_keys(source) for source in sources], weights)
    left_out = np.any([unreadable(source) for source in sources], axis=0)  # (N,)
    array = store.Array(target, members[0].ids, keys, shape)

    def make(rows: Sequence[int]) -> store.Made:
        for index in rows:
            if left_out[index]:
                yield index, KitError(f"{members[0].ids[index]}: could not be predicted")
            else:
                yield index, [mean([member[index] for member in members], weights)]

    done, _ = store.fill([array], make, team, skip_unreadable=True)
    return done


def mean_keys(keys: Sequence[Sequence[bytes]], weights: Sequence[float] | None = None) -> list[bytes]:
    """What the mean of each image's maps is made from, by the keys of each member's maps."""
    counted = [] if weights is None else [repr(list(weights))]
    return [key_of(*counted, *parts) for parts in zip(*keys, strict=True)]


def mean(maps: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """The mean of some maps of one image, uint8 (h, w) each, at the size of the largest.

    Rounded down, as every level is (`maps.to_levels`).

    Args:
        weights: How much each counts; None: all the same.

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
    """A logistic regression on the logits of the members, as plain numbers: applying it needs no library."""

    members: list[str]
    weights: list[Number]
    """One a member."""
    bias: Number

    def probability(self, members: np.ndarray) -> np.ndarray:
        """P(the image has any pneumothorax) by the members together.

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
    """The stack that was written to `path`."""
    found: Stack = read_document(path, Stack, "run `make train` again")
    if found.members != list(members) or len(found.weights) != len(members):
        known = f"{len(found.weights)} weights for {', '.join(found.members)}"
        raise KitError(
            f"{path}: has {known}; the recipe's classifiers are {', '.join(members)}: run `make train` again"
        )
    return found


def fit_stack(names: Sequence[str], members: np.ndarray, positive: np.ndarray) -> Stack:
    """Fits the stack on out-of-fold probabilities.

    Args:
        members: Probability by each member, (N, M).
        positive: Whether each image has pneumothorax, bool (N,).

    Raises:
        KitError: all images are positive, or none is.
    """
    from sklearn.linear_model import LogisticRegression  # prediction does without

    if positive.all() or not positive.any():
        raise KitError("classifiers cannot be stacked: the images are all of one kind: give some of each")
    regression = LogisticRegression(max_iter=1000).fit(_logits(members), positive)
    return Stack(members=list(names), weights=regression.coef_[0].tolist(), bias=float(regression.intercept_[0]))


def nested_probability(
    members: np.ndarray, positive: np.ndarray, groups: np.ndarray, left_out: frozenset[int] = frozenset()
) -> np.ndarray:
    """P(pneumothorax) of each image by the stack fitted on all groups but its own, float64 (N,).

    Args:
        members: Out-of-fold probability by each member, (N, M).
        positive: bool (N,).
        groups: Number of each image's group, (N,): its fold.
        left_out: Groups that no stack is fitted on. Where they leave but one, its images are among those that their
            stack was fitted on.
    """
    probability = np.empty(len(groups))
    fitting = ~np.isin(groups, list(left_out))
    for group in np.unique(groups):
        own = groups == group
        others = fitting & ~own if (fitting & ~own).any() else fitting
        probability[own] = fit_stack([], members[others], positive[others]).probability(members[own])
    return probability


def _logits(probabilities: np.ndarray) -> np.ndarray:
    inside = np.clip(probabilities.astype(np.float64), CERTAIN, 1 - CERTAIN)
    return np.log(inside / (1 - inside))
