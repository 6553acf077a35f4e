"""The stack of an ensemble's image classifiers: one probability from those of all members."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.core.documents import Document, Number, read_document
from kit.core.errors import KitError
from kit.core.files import write_json

CERTAIN = 1e-6
"""Probabilities are clipped this far from 0 and 1, where logits are infinite."""


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
        excluded: Groups that no stack is fitted on. If only one group remains, its stack is fitted on itself.
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
