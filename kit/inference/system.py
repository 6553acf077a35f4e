"""A trained recipe as one function of images: the networks of all its members, their mean and their gate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.inference import ensemble, predict
from kit.inference.ensemble import Stack
from kit.networks import Segmenter
from kit.recipes.schema import Recipe


@dataclass(frozen=True)
class System:
    """All that a recipe predicts with; a recipe without members is its own one member, called ""."""

    recipe: Recipe
    models: dict[str, list[Segmenter]]
    """Networks to average, by the member's name."""
    stack: Stack | None
    """Of the classifying members."""

    @property
    def sizes(self) -> set[int]:
        """Pixels a side of the images that its networks take."""
        return {part.stages[-1].size for part in self.recipe.parts().values()}

    @property
    def batch_size(self) -> int:
        """Images at once, by the member that takes the most."""
        return max(part.stages[-1].batch_size for part in self.recipe.parts().values())

    def inputs(self, images: Sequence[Mapping[int, np.ndarray]]) -> Iterator[tuple]:
        """What a rule takes for each image: its map, and for a gated rule P(the image has any pneumothorax).

        The same, level by level, as the members' stored maps averaged.

        Args:
            images: Each at all `sizes`, uint8 (size, size).
        """
        maps, presence = [], []
        for name, part in self.recipe.parts().items():
            stage = part.stages[-1]
            resized = np.stack([image[stage.size] for image in images])  # (B, size, size)
            batches = [resized[i : i + stage.batch_size] for i in range(0, len(resized), stage.batch_size)]
            both = [predict.probabilities(self.models[name], batch, part) for batch in batches]
            found = np.concatenate([with_tta if self.recipe.tta else plain for plain, with_tta in both])
            (presence if part.role == "classify" else maps).append(found)
        means = map(ensemble.mean, zip(*map(predict.to_levels, maps), strict=True))
        given = [] if self.stack is None else [self.stack.probability(np.stack(presence, axis=1))]
        return zip(means, *given, strict=True)


def load(recipe: Recipe, weights: Mapping[str, Sequence[Path]], stack: Path | None) -> System:
    """The system of a recipe.

    Args:
        recipe: The resolved recipe.
        weights: Files of the networks to average, by the member's name.
        stack: File of the stack, where the recipe is gated.
    """
    models = {name: predict.load(part.network, weights[name]) for name, part in recipe.parts().items()}
    return System(recipe, models, ensemble.read_stack(stack, recipe.members_that("classify")) if stack else None)
