"""One training at one size: its schedule, its end, and what it leaves."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kit.recipes.section import Count, Epochs, Factor, Positive, Section, Weight


class Scale(Section):
    """Factors that make a recipe smaller, or larger, and keep the ratios of its stages as far as whole numbers go."""

    size: Factor = 1.0
    """Of pixels a side, to the nearest multiple of 32, at least 32."""
    batch_size: Factor = 1.0
    epochs: Factor = 1.0
    """Of every count of epochs; none that is there vanishes."""
    learning_rate: Factor = 1.0


class Plateau(Section):
    """When a plateau lowers the rate, in the sense of Keras' ReduceLROnPlateau."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    patience: Epochs = 5
    """The rate falls at the end of so many epochs in a row without improvement, and the count starts again."""
    threshold: Weight = 1e-4
    """An improvement is more than this, absolute, better than the best before."""


class Stage(Section):
    """One training at one size, from the weights of the stage before (paper section 4.3)."""

    size: Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
    """Pixels a side."""
    epochs: Epochs
    batch_size: Annotated[int, Field(ge=1)]
    """Images a step, over all processes together."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Images of a step that a process computes at a time, for a GPU without the memory for its whole share; null: all.
    Their gradients add up to those of the whole batch, but batch norm normalises each part by itself. `dice_over:
    batch` takes one more forward pass for it. May change in a run that was begun."""
    learning_rate: Positive = 1e-3
    final_learning_rate: Weight = 0.0
    """The lowest rate: where a cosine ends, and where a plateau stops falling."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """`cosine`: annealed once an epoch; `plateau`: lowered when `watch` stands still; `constant`: `learning_rate`
    throughout."""
    periods: tuple[Epochs, ...] = ()
    """Epochs in which each fall of a cosine reaches the lowest rate, the last for all that follow: `[5, 10, 20]`
    grows, `[5]` repeats; none: one fall over the whole stage."""
    restarts: bool = True
    """Whether the next fall of a cosine starts at the full rate again; false: the rate rises as it fell, in as many
    epochs."""
    last_learning_rates: tuple[Positive, ...] = ()
    """Of the last epochs, one each, instead of the schedule's."""
    plateau: Plateau = Plateau()
    watch: Literal["validation_loss", "score"] = "validation_loss"
    """What a plateau and early stopping go by: the loss, or the score that chooses checkpoints."""
    early_stopping: Epochs | None = None
    """The stage ends after so many epochs in a row without a better `watch`; null: never before `epochs`."""
    swa_epochs: Count | Annotated[tuple[Epochs, ...], Field(min_length=1)] = 0
    """Weights are the average of those at the end of the last so many epochs, or of the epochs listed, from 1; 0: those
    of the last epoch."""
    best_checkpoints: Count = 0
    """So many epochs with the best score are kept, see `averaged`; 0: off."""
    averaged: Literal["weights", "predictions"] = "weights"
    """What of the best checkpoints is averaged: their weights into one network, or the predictions of all of them."""
    batch_norm: Literal["recomputed", "averaged"] = "recomputed"
    """Statistics of batch norm that averaged weights get: `recomputed` in a pass over the training part (SWA's paper,
    the runner-up), or the `averaged` ones of the epochs, as the weights (the paper's authors)."""
    passes_on: Literal["weights", "best"] = "weights"
    """What the next stage starts from: `weights.safetensors`, or the single epoch with the best score. Of averaged
    predictions both are the same."""
    frozen_epochs: Count = 0
    """First epochs in which the encoder does not learn."""
    positive_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of images with pneumothorax in an epoch; null: every image once."""
    validate_every: Epochs = 1
    """Epochs from one validation to the next; the last epoch always ends with one."""

    @field_validator("swa_epochs", "best_checkpoints", "frozen_epochs", "last_learning_rates")
    @classmethod
    def _epochs_suffice(cls, value: Any, info: ValidationInfo) -> Any:
        epochs = info.data.get("epochs")  # missing when it was refused itself
        wanted = value if isinstance(value, int) else max(value, default=0)
        wanted = len(value) if info.field_name == "last_learning_rates" else wanted
        if epochs is not None and wanted > epochs:
            raise ValueError(f"is more than the {epochs} epochs of the stage")
        return value

    @field_validator("best_checkpoints")
    @classmethod
    def _one_average(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("swa_epochs"):
            raise ValueError("swa_epochs chooses the weights too: set one of them to 0")
        return value

    @field_validator("final_learning_rate")
    @classmethod
    def _rate_falls(cls, value: float, info: ValidationInfo) -> float:
        if value > info.data.get("learning_rate", value):
            raise ValueError("is above learning_rate")
        return value

    @model_validator(mode="after")
    def _keys_agree(self) -> "Stage":
        if self.swa_epochs and self.early_stopping:
            raise ValueError("early_stopping may end the stage before its swa_epochs: use best_checkpoints with it")
        if self.last_learning_rates and self.schedule == "plateau":
            raise ValueError("last_learning_rates has no place after a plateau, which ends nowhere")
        if self.averaged == "predictions" and not self.best_checkpoints:
            raise ValueError("averaged=predictions needs best_checkpoints")
        watched = self.best_checkpoints or self.early_stopping or self.passes_on == "best"
        if self.validate_every > 1 and (watched or self.schedule == "plateau"):
            raise ValueError(
                "validate_every is 1 with best_checkpoints, passes_on=best, early_stopping or a plateau: they go by "
                "every epoch"
            )
        return self

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, from 0, ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

    @property
    def goes_by_score(self) -> bool:
        """Whether what the stage leaves depends on the scores of its validations."""
        watched = self.watch == "score" and (self.early_stopping is not None or self.schedule == "plateau")
        return bool(self.best_checkpoints) or self.passes_on == "best" or watched

    @property
    def swa(self) -> tuple[int, ...]:
        """The epochs, from 1, whose weights are averaged; none without SWA.

        >>> Stage(size=256, epochs=100, batch_size=64, swa_epochs=3).swa
        (98, 99, 100)
        """
        if isinstance(self.swa_epochs, int):
            return tuple(range(self.epochs - self.swa_epochs + 1, self.epochs + 1))
        return tuple(sorted(set(self.swa_epochs)))

    @property
    def averages(self) -> bool:
        """Whether the weights that it leaves are the mean of several checkpoints."""
        return len(self.swa) > 1 or (self.averaged == "weights" and self.best_checkpoints > 1)

    @property
    def idle(self) -> set[str]:
        """Keys that do nothing beside what others say.

        >>> sorted(Stage(size=64, epochs=2, batch_size=1, best_checkpoints=2).idle)
        ['plateau', 'restarts', 'watch']
        """
        used = {
            "plateau": self.schedule == "plateau",
            "periods": self.schedule == "cosine",
            "restarts": self.schedule == "cosine" and bool(self.periods),
            "final_learning_rate": self.schedule != "constant",
            "watch": self.schedule == "plateau" or self.early_stopping is not None,
            "averaged": bool(self.best_checkpoints),
            "batch_norm": self.averages,
        }
        return {key for key, does in used.items() if not does}

    def scaled(self, scale: Scale) -> "Stage":
        """The stage in another size.

        >>> Stage(size=512, epochs=70, batch_size=16, swa_epochs=3).scaled(Scale(size=0.25, epochs=0.1)).swa_epochs
        1
        """

        def count(epochs: int) -> int:
            return max(1, round(epochs * scale.epochs)) if epochs else 0

        swa = self.swa_epochs
        rates = [rate * scale.learning_rate for rate in self.last_learning_rates]
        wanted = min(count(len(rates)), count(self.epochs))
        return self.model_copy(
            update={
                "size": max(32, 32 * round(self.size * scale.size / 32)),
                "epochs": count(self.epochs),
                "batch_size": max(1, round(self.batch_size * scale.batch_size)),
                "learning_rate": self.learning_rate * scale.learning_rate,
                "final_learning_rate": self.final_learning_rate * scale.learning_rate,
                "periods": tuple(map(count, self.periods)),
                "last_learning_rates": tuple(rates[i * len(rates) // wanted] for i in range(wanted)),
                "plateau": self.plateau.model_copy(update={"patience": count(self.plateau.patience)}),
                "early_stopping": None if self.early_stopping is None else count(self.early_stopping),
                "swa_epochs": count(swa) if isinstance(swa, int) else tuple(sorted({count(epoch) for epoch in swa})),
                "best_checkpoints": min(self.best_checkpoints, count(self.epochs)),
                "frozen_epochs": count(self.frozen_epochs),
            }
        )
