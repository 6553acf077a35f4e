"""The typed recipe: everything that a result depends on, its defaults and units, and what is refused.

An ensemble is a recipe with `members`: each is the recipe itself with the keys that the member says merged over it,
sections key by key, lists as a whole.
"""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(gt=0, le=100)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Network(Section):
    """What network is trained (paper section 4.2, Table 3)."""

    architecture: Literal["Unet", "UnetPlusPlus", "FPN", "DeepLabV3", "DeepLabV3Plus"] = "Unet"
    encoder: str = "resnet34"
    """Name of an encoder of segmentation-models-pytorch; `tu-NAME` is timm's."""
    encoder_weights: str | None = "imagenet"
    """`imagenet` (downloaded), the path of a .safetensors or .pth file, or null."""
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] | None = (256, 128, 64, 32, 16)
    """Filters of the decoder's blocks, the deepest first; null leaves them to the architecture."""
    attention: Literal["scse"] | None = None
    """Attention in the decoder's blocks of a U-Net; each then needs 16 filters or more."""
    channels: Literal[1, 3] = 3
    """3: the grey image three times; 1: once, mapped to three by a convolution that is learned (paper, Exp1)."""
    normalisation: Literal["unit", "imagenet", "symmetric"] = "unit"
    """Of grey levels 0…255: to 0…1 (paper section 4.1), by ImageNet's mean and deviation, or (x - 127) / 128."""
    image_head: bool = False
    """A second output that says whether the image has any pneumothorax."""

    @field_validator("attention")
    @classmethod
    def _filters_suffice(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "scse" and min(info.data.get("decoder_channels") or (16,)) < 16:
            raise ValueError("scse needs decoder_channels of 16 or more")
        return value

    @field_validator("encoder_weights")
    @classmethod
    def _none_is_null(cls, value: str | None) -> str | None:
        return None if value in ("none", "") else value


class Loss(Section):
    """Weights of the terms of the loss (paper equations 1 to 3: BCE + Dice)."""

    bce: Annotated[float, Field(ge=0)] = 1.0
    dice: Annotated[float, Field(ge=0)] = 1.0
    focal: Annotated[float, Field(ge=0)] = 0.0
    image: Annotated[float, Field(ge=0)] = 0.0
    """BCE of the image-level head."""

    @model_validator(mode="after")
    def _has_a_term(self) -> "Loss":
        if not any((self.bce, self.dice, self.focal, self.image)):
            raise ValueError("every weight is 0: nothing would be learned")
        return self


class Scale(Section):
    """Factors that make a recipe smaller, or larger, and keep the ratios of its stages as far as whole numbers go."""

    size: Factor = 1.0
    """Of pixels a side, to the nearest multiple of 32, at least 32."""
    batch_size: Factor = 1.0
    epochs: Factor = 1.0
    """Of every count of epochs; none that is there vanishes."""
    learning_rate: Factor = 1.0


class Stage(Section):
    """One training at one size, from the weights of the stage before (paper section 4.3)."""

    size: Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
    """Pixels a side."""
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    """Images a step, over all processes together."""
    learning_rate: Positive = 1e-3
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Where the cosine ends."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """`cosine`: annealed once an epoch; `plateau`: times 0.2 after 5 epochs without a better validation loss."""
    swa_epochs: Count = 0
    """Weights are the average of those at the end of the last so many epochs; 0: those of the last epoch."""
    best_checkpoints: Count = 0
    """Weights are the average of so many epochs with the best validation Dice; 0: off."""
    frozen_epochs: Count = 0
    """First epochs in which the encoder does not learn."""
    positive_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of images with pneumothorax in an epoch; null: every image once."""
    validate_every: Annotated[int, Field(ge=1)] = 1
    """Epochs from one validation to the next; the last epoch always ends with one."""

    @field_validator("swa_epochs", "best_checkpoints", "frozen_epochs")
    @classmethod
    def _epochs_suffice(cls, value: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs", value)  # missing when it was refused itself
        if value > epochs:
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
    def _is_validated_as_often_as_needed(self) -> "Stage":
        if self.validate_every > 1 and (self.best_checkpoints or self.schedule == "plateau"):
            raise ValueError("validate_every is 1 with best_checkpoints or a plateau: they go by every epoch")
        return self

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, from 0, ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

    @property
    def averages(self) -> bool:
        """Whether the weights that it leaves are the mean of several checkpoints."""
        return max(self.swa_epochs, self.best_checkpoints) > 1

    def scaled(self, scale: Scale) -> "Stage":
        """The stage in another size.

        >>> Stage(size=512, epochs=70, batch_size=16, swa_epochs=3).scaled(Scale(size=0.25, epochs=0.1)).swa_epochs
        1
        """
        counts = {
            key: max(1, round(getattr(self, key) * scale.epochs))
            for key in ("epochs", "swa_epochs", "frozen_epochs")
            if getattr(self, key)
        }
        return self.model_copy(
            update={
                **counts,
                "size": max(32, 32 * round(self.size * scale.size / 32)),
                "batch_size": max(1, round(self.batch_size * scale.batch_size)),
                "best_checkpoints": min(self.best_checkpoints, counts["epochs"]),
                "learning_rate": self.learning_rate * scale.learning_rate,
                "final_learning_rate": self.final_learning_rate * scale.learning_rate,
            }
        )


class Folds(Section):
    """How the training images are split: K folds, or one hold-out part."""

    count: Annotated[int, Field(ge=2)] = 5
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images that validate the one network; null: K folds."""


class Threshold(Section):
    """The decision rule that metrics use during training, before the search has chosen one."""

    binarization: Share = 0.5
    """B-TH: a pixel is foreground from this probability on."""
    removal: Count = 0
    """R-TH: a mask with fewer pixels of a 1024×1024 image is emptied."""
    top: Share | None = None
    """The winner's: the area that `removal` asks for is counted from this probability on; null: from B-TH on."""
    transfer: Literal["none", "share"] = "none"
    """How the searched rule decides on a test set which images have a mask: `none`, by its own thresholds; `share`,
    so many images as was best out of fold, those with the most evidence (docs/thresholds.md says when)."""


OF_THE_WHOLE = {"name", "about", "folds", "precision", "tta", "prevalence", "members"}
"""Keys that a member cannot change."""
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MEMBER = NAME.replace(".", "")
"""A member's folder lies among the run's files, which have a dot in their names."""


class Recipe(Section):
    """Everything that a result depends on, but for the data."""

    name: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})?$")]
    """Of the run; a member's is ENSEMBLE/MEMBER."""
    about: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    folds: Folds = Folds()
    network: Network = Network()
    loss: Loss = Loss()
    augmentation: tuple[Literal["A1", "A2", "A3", "A4", "aggressive"], ...] = ("A1", "A2", "A3", "A4")
    """Groups of the paper's Table 9 by name; `aggressive` is the winner's."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """Of the arithmetic; `auto`: 16-mixed on a GPU, 32-true on a CPU."""
    tta: bool = True
    """Average the prediction with that of the mirrored image (paper section 4.3)."""
    image_evidence: bool = False
    """Maps hold the geometric mean of a pixel's probability and that of the image, by the image head, to have any
    pneumothorax, so that every rule sees both."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of positives that thresholds are chosen for; null: as in the training images."""
    threshold: Threshold = Threshold()
    start: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})?$")] | None = None
    """Each fold starts from the last weights of this recipe's run on the same data and folds (paper, Exp3)."""
    role: Literal["segment", "classify"] = "segment"
    """What a member gives its ensemble: probability maps, or the probability that the image has any pneumothorax."""
    members: dict[Annotated[str, Field(pattern=rf"^{MEMBER}$")], dict[str, Any]] = {}
    """Of an ensemble, by name: what each changes in this recipe."""

    @field_validator("members")
    @classmethod
    def _folders_are_free(cls, value: dict, info: ValidationInfo) -> dict:
        if value and "/" in info.data.get("name", ""):
            raise ValueError(f"a recipe with members has a name without '/', not {info.data['name']}")
        if taken := [name for name in value if re.fullmatch(r"oof|thresholds|fold\d+", name)]:
            raise ValueError(f"{taken[0]} is a folder of every run: call the member otherwise")
        return value

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        if self.loss.image and not self.network.image_head:
            raise ValueError("loss.image needs network.image_head=true")
        if self.image_evidence and not self.network.image_head:
            raise ValueError("image_evidence needs network.image_head=true")
        if self.start == self.name:
            raise ValueError("start is the recipe itself: name another")
        if self.role == "classify" and not self.network.image_head:
            raise ValueError("role=classify needs network.image_head=true")
        return self

    @property
    def is_gated(self) -> bool:
        """Whether classifying members have a say in whether an image's mask is empty."""
        return bool(self.members and self.members_that("classify"))

    @property
    def label(self) -> str:
        """The name without that of the ensemble.

        >>> from kit import recipes
        >>> [part.label for part in recipes.load("sneddy").parts()], recipes.load("exp5").label
        (['r34', 'r50', 'se50'], 'exp5')
        """
        return self.name.rpartition("/")[2]

    def members_that(self, role: str) -> tuple["Recipe", ...]:
        """The members with that role."""
        return tuple(part for part in self.parts() if part.role == role)

    def parts(self) -> tuple["Recipe", ...]:
        """The recipes to train: an ensemble's members, or else the recipe itself.

        >>> from kit import recipes
        >>> [part.loss.focal for part in recipes.load("sneddy").parts()]
        [1.0, 2.0, 4.0]
        """
        if not self.members:
            return (self,)
        whole = self.model_dump(mode="json", exclude={"members"})
        return tuple(
            Recipe.model_validate(merged(whole, changes) | {"name": f"{self.name}/{name}"})
            for name, changes in self.members.items()
        )

    def scaled(self, scale: Scale) -> "Recipe":
        """The recipe with every stage in another size, those that members bring along included."""
        members = {
            name: changes
            | {
                key: [Stage.model_validate(stage).scaled(scale).model_dump(mode="json") for stage in value]
                for key, value in changes.items()
                if key == "stages"
            }
            for name, changes in self.members.items()
        }
        stages = tuple(stage.scaled(scale) for stage in self.stages)
        return self.model_copy(update={"stages": stages, "members": members})

    def dump(self) -> str:
        """The recipe as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The mapping with changes over it: mappings key by key, anything else as a whole."""
    return whole | {
        key: merged(whole[key], value) if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
        for key, value in changes.items()
    }
