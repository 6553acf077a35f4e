"""The section `stages`: one training at one image size, its schedule, and the weights it ends with."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from kit.core.documents import Count
from kit.recipes.section import Epochs, OneOf, Positive, Section, Weight

Measure = Literal["loss", "dice"]
"""Measure of a validation: its loss, or its score, which is the Dice by the recipe's thresholds or, if there are
`threshold.candidates`, by the best of them."""
BatchNorm = Literal["recomputed", "averaged"]


class Cosine(Section):
    """Falls along half a cosine, one step per epoch; with `periods`, several times."""

    to: Weight = 0.0
    """The lowest rate."""
    periods: tuple[Epochs, ...] = ()
    """Number of epochs of each fall; the last number repeats: `[5, 10, 20]` grows, `[5]` stays. Without periods:
    one fall over the whole stage."""
    restarts: bool = True
    """Whether each fall starts at the full rate; if false, the rate rises back over as many epochs as it fell."""
    then: tuple[Positive, ...] = ()
    """Rates of the last epochs after the cosine, one per epoch."""

    @property
    def idle(self) -> set[str]:
        """`restarts`, if there is only one fall."""
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
    """What must improve: the validation loss, or the validation score, which is a Dice."""


class Constant(Section):
    """Keeps the same rate in all epochs."""


class Schedule(OneOf):
    """How the learning rate changes from epoch to epoch."""

    cosine: Cosine | None = None
    linear: Linear | None = None
    plateau: Plateau | None = None
    constant: Constant | None = None


class EarlyStopping(Section):
    """Ends a stage before its `epochs` are over."""

    patience: Epochs
    """Number of epochs in a row without improvement after which the stage ends."""
    of: Measure = "loss"
    """What must improve: the validation loss, or the validation score, which is a Dice."""


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
    def _names_epochs_once(self) -> "Swa":
        if (self.last is None) == (self.epochs is None):
            raise ValueError("takes either last, the number of epochs, or epochs, a list of them")
        return self

    @property
    def idle(self) -> set[str]:
        """The unused way to name epochs; `batch_norm`, if only one epoch is averaged."""
        several = (self.last or len(set(self.epochs or ()))) > 1
        return {"epochs" if self.epochs is None else "last"} | (set() if several else {"batch_norm"})


class Best(Section):
    """Keeps the epochs with the best validations."""

    epochs: Epochs = 1
    """Number of epochs to keep; of equally good ones, the earlier."""
    of: Measure = "dice"
    """What ranks epochs: the validation score, which is a Dice, or the validation loss."""
    average: Literal["weights", "predictions"] = "weights"
    """What is averaged over the kept epochs: their weights, giving one network, or their predictions; then the next
    stage starts from the best epoch."""
    batch_norm: BatchNorm = "recomputed"
    """Batch norm statistics of averaged weights, as for `swa`."""

    @property
    def idle(self) -> set[str]:
        """`average`, if one epoch is kept; `batch_norm`, if weights are not averaged."""
        return ({"average"} if self.epochs == 1 else set()) | (set() if self.averages_weights else {"batch_norm"})

    @property
    def averages_weights(self) -> bool:
        """Whether the weights of several epochs are averaged into one network."""
        return self.epochs > 1 and self.average == "weights"


class Ema(Section):
    """Keeps an exponential moving average of the weights, updated after every step."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay per step: the average covers about 1 / (1 - decay) steps."""
    batch_norm: BatchNorm = "averaged"
    """Batch norm statistics, as for `swa`."""


class Keep(OneOf):
    """Selects the weights that a stage ends with."""

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
    """Images per step, over all processes."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Images that a process computes at a time, for GPUs with too little memory for the whole batch; null: all. The
    gradients add up to those of the batch, but batch norm normalises each part separately, and `dice_over: batch` needs
    a second forward pass. May be changed in a run that was started."""
    learning_rate: Positive = 1e-3
    """The highest rate, from which the schedule starts."""
    schedule: Schedule = Schedule(cosine=Cosine())
    """How the rate changes, by name or with settings, as in `{cosine: {to: 0.00001}}`."""
    warm_up: Count = 0
    """Number of epochs over which the rate first rises to `learning_rate`, step by step; then the schedule starts."""
    early_stopping: EarlyStopping | None = None
    """Ends the stage before its `epochs` are over, as in `{patience: 10}`; null: never."""
    keep: Keep = Keep(last=Last())
    """The weights that the stage ends with, by name or with settings, as in `{swa: {last: 5}}`."""
    frozen_epochs: Count = 0
    """Number of epochs for which the encoder is frozen at the start."""
    positive_share: float | tuple[float, float] | None = None
    """Share of positives in an epoch; two numbers are the shares in the first and the last epoch, with equal steps in
    between; null: every image once per epoch."""
    validate_every: Epochs = 1
    """Number of epochs between validations; the last epoch is always validated."""

    @field_validator("positive_share", mode="wrap")
    @classmethod
    def _one_share_or_two(cls, value: Any, read: ValidatorFunctionWrapHandler) -> float | tuple[float, float] | None:
        """Gives one message where a union would give one for each of its types."""
        with suppress(ValidationError):
            parsed = read(value)
            shares = parsed if isinstance(parsed, tuple) else (parsed,)
            if parsed is None or all(0 < share <= 1 for share in shares):
                return parsed
        raise ValueError("must be a share above 0 and at most 1, or two such shares")

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
            raise ValueError("validate_every must be 1 with keep.best, early_stopping or schedule.plateau")
        return self

    def validates(self, epoch: int) -> bool:
        """Whether an epoch (from 0) ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

    def positives_in(self, epoch: int) -> float | None:
        """Returns the share of positives in an epoch (from 0), or None if every image comes once.

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
    def uses_scores(self) -> bool:
        """Whether the weights that the stage ends with depend on validation scores."""
        monitors = (self.keep.best, self.early_stopping, self.schedule.plateau)
        return any(monitor is not None and monitor.of == "dice" for monitor in monitors)

    @property
    def swa(self) -> tuple[int, ...]:
        """Epochs (from 1) whose weights SWA averages.

        >>> Stage(size=256, epochs=100, batch_size=64, keep={"swa": {"last": 3}}).swa
        (98, 99, 100)
        """
        swa = self.keep.swa
        if swa is None:
            return ()
        return tuple(sorted(set(swa.epochs or range(self.epochs - (swa.last or 0) + 1, self.epochs + 1))))

    @property
    def averages(self) -> bool:
        """Whether the stage ends with averaged weights."""
        best = self.keep.best
        return len(self.swa) > 1 or (best is not None and best.averages_weights) or self.keep.ema is not None

    @property
    def networks(self) -> int:
        """Number of networks that the stage ends with; their predictions are averaged."""
        best = self.keep.best
        return best.epochs if best is not None and best.average == "predictions" else 1

    @property
    def idle(self) -> set[str]:
        """`name`, if there is none."""
        return {"name"} if self.name is None else set()


_LIMITED = (
    "warm_up",
    "frozen_epochs",
    "keep.swa.last",
    "keep.swa.epochs",
    "keep.best.epochs",
    "schedule.cosine.then",
)
"""Keys of a stage that its number of epochs limits."""


def fit_to_epochs(stage: dict[str, Any], fixed: Collection[str] = ()) -> dict[str, Any]:
    """Lowers settings of a stage, in place, that need more epochs than the stage has; returns new values by key.

    Args:
        stage: Content as in a recipe's file, not validated except for `epochs`, an integer.
        fixed: Beginnings of keys whose values stay.

    >>> swa, cosine = {"epochs": [1, 3, 4]}, {"then": [0.4, 0.3, 0.2, 0.1]}
    >>> fit_to_epochs({"epochs": 3, "warm_up": 1, "keep": {"swa": swa}, "schedule": {"cosine": cosine}})
    {'keep.swa.epochs': [1, 3], 'schedule.cosine.then': [0.4, 0.2]}
    """
    epochs, lowered = stage["epochs"], {}
    for key in _LIMITED if epochs > 0 else ():
        *parents, last = key.split(".")
        section: Any = stage
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        value = section.get(last) if isinstance(section, dict) else None
        fitted = value
        if last == "then" and isinstance(value, list):
            warm_up = stage.get("warm_up")
            most = max(0, epochs - warm_up) if isinstance(warm_up, int) else epochs
            fitted = resample(value, min(len(value), most))
        elif isinstance(value, list) and all(isinstance(epoch, int) for epoch in value):
            fitted = sorted({min(epoch, epochs) for epoch in value}) if max(value, default=0) > epochs else value
        elif isinstance(value, int):
            fitted = min(value, epochs)
        if fitted != value and not any(key.startswith(start) for start in fixed):
            section[last] = lowered[key] = fitted
    return lowered


def resample(rates: Sequence[float], count: int) -> list[float]:
    """Returns `count` of the rates of consecutive epochs, evenly spaced; rates repeat if there are fewer.

    >>> resample([0.4, 0.3, 0.2, 0.1], 2), resample([0.4, 0.3], 4)
    ([0.4, 0.2], [0.4, 0.4, 0.3, 0.3])
    """
    return [rates[number * len(rates) // count] for number in range(count)]
