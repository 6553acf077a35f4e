"""The overrides `scale.…`, which make all stages of a recipe smaller or larger by the same factors."""

from typing import Any

from kit.recipes.section import Factor, Section
from kit.recipes.stage import Keep, Stage, fit_to_epochs, resample


class Scale(Section):
    """Factors that make a recipe smaller or larger, keeping the ratios of its stages as far as rounding allows."""

    size: Factor = 1.0
    """Factor of the image size; sizes are rounded to a multiple of 32."""
    batch_size: Factor = 1.0
    """Factor of the batch size."""
    epochs: Factor = 1.0
    """Factor of all numbers of epochs; each stays at least 1."""
    learning_rate: Factor = 1.0
    """Factor of the learning rates."""

    def stage(self, stage: Stage) -> dict[str, Any]:
        """Returns a scaled stage, as in a recipe's file.

        >>> stage = Stage(size=512, epochs=70, batch_size=16, keep={"swa": {"last": 3}})
        >>> Scale(size=0.25, epochs=0.1).stage(stage)["keep"]
        {'swa': {'last': 1}}
        """
        content = stage.model_dump(mode="json")
        content |= {key: self._settings(content[key]) for key in ("schedule", "early_stopping", "keep")}
        content |= {
            "size": max(32, 32 * round(stage.size * self.size / 32)),
            "epochs": self._count(stage.epochs),
            "batch_size": max(1, round(stage.batch_size * self.batch_size)),
            "learning_rate": stage.learning_rate * self.learning_rate,
            "warm_up": self._count(stage.warm_up),
            "frozen_epochs": self._count(stage.frozen_epochs),
        }
        fit_to_epochs(content)
        content["keep"] = Keep.model_validate(content["keep"]).model_dump(mode="json")  # no averages of one epoch
        return content

    def _count(self, epochs: int) -> int:
        return max(1, round(epochs * self.epochs)) if epochs else 0

    def _settings(self, value: Any, key: str = "") -> Any:
        """Scales the settings of a stage, or the value of one of their keys."""
        if isinstance(value, dict):
            return {name: self._settings(inner, name) for name, inner in value.items()}
        if key == "to":
            return value * self.learning_rate
        if key in ("patience", "last"):
            return self._count(value)
        if key == "periods":
            return [self._count(period) for period in value]
        if key == "then":  # one rate per epoch
            return [rate * self.learning_rate for rate in resample(value, self._count(len(value)))]
        if key == "epochs" and isinstance(value, list):  # of `swa`; `best` has a number, which stays
            return sorted({self._count(epoch) for epoch in value})
        return value
