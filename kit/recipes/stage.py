"""One training at one size: its schedule, its end, and what it leaves."""

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from kit.recipes.section import Count, Epochs, OneOf, Positive, Section, Weight

Measure = Literal["loss", "dice"]
"""What judges a validation: its loss, or its score, which is the Dice by the recipe's thresholds or, if there are
`threshold.candidates`, by the best of them."""
BatchNorm = Literal["recomputed", "averaged"]


class Cosine(Section):
    """Falls along half a cosine, one step per epoch; with `periods`, several times."""

    to: Weight = 0.0
    """The lowest rate."""
    periods: tuple[Epochs, ...] = ()
    """Number of epochs of each fall; the last number repeats: `[5, 10, 20]` grows, `[5]` stays. None: one fall over the
    whole stage."""
    restarts: bool = True
    """Whether the next fall starts at the full rate again; false: the rate rises back in as many epochs."""
    then: tuple[Positive, ...] = ()
    """Rates of the last epochs after the cosine, one per epoch."""

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        return set() if self.periods else {"restarts"}


class Linear(Section):
    """Falls in a straight line over the whole stage, one step per epoch."""

    to: Weight = 0.0
    """The rate that would follow the last epoch."""


class Plateau(Section):
    """Falls when validations stop improving, like Keras' ReduceLROnPlateau."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The rate is multiplied by this."""
    patience: Epochs = 5
    """Number of epochs in a row without improvement after which the rate falls; then the count starts again."""
    threshold: Weight = 1e-4
    """An improvement must be larger than this, in absolute terms."""
    to: Weight = 0.0
    """The lowest rate."""
    of: Measure = "loss"
    """What has to improve: the loss on the validation part, or the score there, which is a Dice."""


class Constant(Section):
    """Keeps the same rate in all epochs."""


class Schedule(OneOf):
    """How the learning rate changes from epoch to epoch."""

    cosine: Cosine | None = None
    linear: Linear | None = None
    plateau: Plateau | None = None
    constant: Constant | None = None


class EarlyStopping(Section):
    """When a stage ends before its `epochs` are over."""

    patience: Epochs
    """Number of epochs in a row without a better one after which the stage ends."""
    of: Measure = "loss"
    """What has to improve: the loss on the validation part, or the score there, which is a Dice."""


class Last(Section):
    """Keeps the weights of the last epoch."""


class Swa(Section):
    """Stochastic weight averaging: the mean of the weights at the end of several epochs (paper section 4.3)."""

    last: Epochs | None = None
    """Number of last epochs that are averaged."""
    epochs: Annotated[tuple[Epochs, ...], Field(min_length=1)] | None = None
    """The epochs that are averaged, counted from 1."""
    batch_norm: BatchNorm = "recomputed"
    """Batch norm statistics: `recomputed` in a pass over the training part (SWA's paper, the runner-up), or `averaged`
    over the epochs like the weights (the paper's authors)."""

    @model_validator(mode="after")
    def _says_which(self) -> "Swa":
        if (self.last is None) == (self.epochs is None):
            raise ValueError("takes one of last, how many epochs, and epochs, which")
        return self

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        several = (self.last or len(set(self.epochs or ()))) > 1
        return {"epochs" if self.epochs is None else "last"} | (set() if several else {"batch_norm"})


class Best(Section):
    """Keeps the epochs with the best validations."""

    epochs: Epochs = 1
    """Number of epochs to keep; of equally good ones, the earlier."""
    of: Measure = "dice"
    """What makes an epoch better: the score of its validation, which is a Dice, or its loss."""
    average: Literal["weights", "predictions"] = "weights"
    """What is averaged over several epochs: their weights, into one network, or their predictions. The next stage then
    starts from the best epoch."""
    batch_norm: BatchNorm = "recomputed"
    """Batch norm statistics of averaged weights, as with `swa`."""

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        return ({"average"} if self.epochs == 1 else set()) | (set() if self.averages_weights else {"batch_norm"})

    @property
    def averages_weights(self) -> bool:
        """Whether one network is made of several epochs'."""
        return self.epochs > 1 and self.average == "weights"


class Ema(Section):
    """Keeps an exponential moving average of the weights, updated after every step."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay per step: the average covers about 1 / (1 - decay) steps."""
    batch_norm: BatchNorm = "averaged"
    """Batch norm statistics, as with `swa`."""


class Keep(OneOf):
    """Which weights a stage ends with."""

    last: Last | None = None
    swa: Swa | None = None
    best: Best | None = None
    ema: Ema | None = None


class Stage(Section):
    """One training at one size, from the weights of the stage before (paper section 4.3)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")] | None = None
    """A name for `SET`: `stages.NAME.epochs=2` reaches the stage in every member that has it."""
    size: Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
    """Width and height of the images, in pixels."""
    epochs: Epochs
    """Number of epochs."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images per step, of all processes together."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Images that a process computes at a time, if the GPU has too little memory for its part of the batch; null: all.
    Their gradients add up to those of the whole batch, but batch norm normalises each part by itself. `dice_over:
    batch` then needs a second forward pass. May be changed in a run that was started."""
    learning_rate: Positive = 1e-3
    """The highest rate, from which the schedule starts."""
    schedule: Schedule = Schedule(cosine=Cosine())
    """How the rate changes: `constant`, or another one with its settings, as in `{cosine: {to: 0.00001}}`."""
    warm_up: Count = 0
    """Number of first epochs in which the rate rises to `learning_rate`, step by step; the schedule starts after
    them."""
    early_stopping: EarlyStopping | None = None
    """When the stage ends before its `epochs` are over, as in `{patience: 10}`; null: never."""
    keep: Keep = Keep(last=Last())
    """Which weights the stage ends with: `last`, or another choice with its settings, as in `{swa: {last: 5}}`."""
    frozen_epochs: Count = 0
    """Number of first epochs in which the encoder is frozen."""
    positive_share: float | tuple[float, float] | None = None
    """Share of positives in an epoch. Two numbers: in the first and in the last epoch, with equal steps between. null:
    an epoch has every image once."""
    validate_every: Epochs = 1
    """Number of epochs from one validation to the next; the last epoch always ends with one."""

    @field_validator("positive_share", mode="wrap")
    @classmethod
    def _one_share_or_two(cls, value: Any, read: ValidatorFunctionWrapHandler) -> float | tuple[float, float] | None:
        """Refuses in one line what a union would refuse once for each of its types."""
        with suppress(ValidationError):
            found = read(value)
            shares = found if isinstance(found, tuple) else (found,)
            if found is None or all(0 < share <= 1 for share in shares):
                return found
        raise ValueError("is a share above 0 and at most 1, or two of them")

    @model_validator(mode="after")
    def _epochs_suffice(self) -> "Stage":
        swa, best, cosine = self.keep.swa, self.keep.best, self.schedule.cosine
        counts = {
            "keep.swa.last": swa and swa.last,
            "keep.swa.epochs": swa and max(swa.epochs or (0,)),
            "keep.best.epochs": best and best.epochs,
            "frozen_epochs": self.frozen_epochs,
            "warm_up": self.warm_up,
            "schedule.cosine.then": cosine and cosine.then and len(cosine.then) + self.warm_up,
        }
        for key, count in counts.items():
            if count and count > self.epochs:
                raise ValueError(f"{key} is more than the {self.epochs} epochs of the stage")
        return self

    @model_validator(mode="after")
    def _keys_agree(self) -> "Stage":
        if getattr(self.schedule.chosen, "to", 0) > self.learning_rate:
            raise ValueError(f"schedule.{self.schedule.chosen_name}.to is above learning_rate")
        if self.keep.swa and self.early_stopping:
            raise ValueError("early_stopping may end the stage before the epochs of keep.swa: use keep.best with it")
        if self.validate_every > 1 and (self.keep.best or self.early_stopping or self.schedule.plateau):
            raise ValueError(
                "validate_every is 1 with keep.best, early_stopping or a plateau: they go by every epoch's validation"
            )
        return self

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, from 0, ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

    def positives_in(self, epoch: int) -> float | None:
        """The share of positives in an epoch, from 0; None: every image comes once.

        >>> falling = Stage(size=64, epochs=3, batch_size=1, positive_share=(0.8, 0.2))
        >>> [falling.positives_in(epoch) for epoch in (0, 1, 2, 3)]
        [0.8, 0.5, 0.2, 0.2]
        """
        if not isinstance(self.positive_share, tuple):
            return self.positive_share
        first, last = self.positive_share
        done = min(1.0, epoch / max(1, self.epochs - 1))
        return first * (1 - done) + last * done

    @property
    def goes_by_score(self) -> bool:
        """Whether what the stage leaves depends on the scores of its validations."""
        judges = (self.keep.best, self.early_stopping, self.schedule.plateau)
        return any(judge is not None and judge.of == "dice" for judge in judges)

    @property
    def swa(self) -> tuple[int, ...]:
        """The epochs, from 1, whose weights are averaged; none without SWA.

        >>> Stage(size=256, epochs=100, batch_size=64, keep={"swa": {"last": 3}}).swa
        (98, 99, 100)
        """
        swa = self.keep.swa
        if swa is None:
            return ()
        return tuple(sorted(set(swa.epochs or range(self.epochs - (swa.last or 0) + 1, self.epochs + 1))))

    @property
    def averages(self) -> bool:
        """Whether the weights that it leaves are the mean of several."""
        best = self.keep.best
        return len(self.swa) > 1 or (best is not None and best.averages_weights) or self.keep.ema is not None

    @property
    def networks(self) -> int:
        """How many networks it leaves, whose predictions are averaged."""
        best = self.keep.best
        return best.epochs if best is not None and best.average == "predictions" else 1

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        return {"name"} if self.name is None else set()
