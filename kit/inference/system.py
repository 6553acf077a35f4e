"""A trained recipe as one function of images: the networks of all its members, their mean and their gate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from kit.inference import ensemble, predict
from kit.inference.ensemble import Stack
from kit.inference.maps import to_levels
from kit.recipes.schema import Recipe
from kit.run import Trained


@dataclass(frozen=True)
class System:
    """All the networks that a recipe predicts with."""

    recipe: Recipe
    models: dict[str, list[nn.Module]]
    """Networks to average, by the label of the part of the recipe that they belong to."""
    stack: Stack | None
    """Of the classifying members."""
    mirrored: bool = True
    """Predicts the mirror images too, where the recipe says so."""

    @property
    def effort(self) -> int:
        """How often an image goes through a network."""
        return sum(map(len, self.models.values())) * (2 if self.mirrored else 1)

    @property
    def sizes(self) -> set[int]:
        """Pixels a side of the images that its networks take."""
        return {part.stages[-1].size for part in self.recipe.parts()}

    @property
    def batch_size(self) -> int:
        """Images at once, by the member that takes the most."""
        return max(part.stages[-1].batch_size for part in self.recipe.parts())

    def inputs(self, images: Sequence[Mapping[int, np.ndarray]]) -> Iterator[tuple[np.ndarray, float | None]]:
        """What a rule takes for each image: its map, and for a gated rule P(the image has any pneumothorax).

        The same, level by level, as the members' stored maps averaged.

        Args:
            images: Each at all `sizes`, uint8 (size, size).

        Yields:
            Levels, uint8 (size, size) at the largest size, and the probability, or None without classifiers.
        """
        maps, image_probabilities = [], []
        for part in self.recipe.parts():
            stage = part.stages[-1]
            resized = np.stack([image[stage.size] for image in images])  # (B, size, size)
            batches = [resized[i : i + stage.batch_size] for i in range(0, len(resized), stage.batch_size)]
            both = [predict.probabilities(self.models[part.label], batch, part, self.mirrored) for batch in batches]
            found = np.concatenate([with_tta if self.recipe.tta else plain for plain, with_tta in both])
            if part.role == "classify":
                image_probabilities.append(found)
            else:
                maps.append(to_levels(found))
        weights = self.recipe.weights
        means = (ensemble.mean(levels, weights) for levels in zip(*maps, strict=True))
        if self.stack is None:
            return ((levels, None) for levels in means)
        stacked = self.stack.probability(np.stack(image_probabilities, axis=1))
        return zip(means, map(float, stacked), strict=True)


def load(trained: Trained) -> System:
    """Loads the networks of a trained recipe.

    Raises:
        KitError: a file of weights or the stack is missing or broken.
    """
    recipe = trained.recipe
    models = {part.label: predict.load(part, trained.weights[part.label]) for part in recipe.parts()}
    classifiers = [part.label for part in recipe.members_that("classify")]
    stack = ensemble.read_stack(trained.stacks[recipe.tta], classifiers) if recipe.is_gated else None
    return System(recipe, models, stack)
