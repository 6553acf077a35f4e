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
Epochs = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


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
    output_stride: Literal[8, 16] | None = None
    """How much smaller the deepest features of a DeepLab are than the image; null leaves it to the architecture."""
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
    """Weights of the terms of the loss (paper equations 1 to 3: BCE + Dice); `kit.training.losses` defines each."""

    bce: Weight = 1.0
    dice: Weight = 1.0
    dice_over: Literal["image", "batch"] = "image"
    """What the sums of the Dice term run over: each image, or all pixels of the batch."""
    dice_areas: Literal["sums", "squares"] = "sums"
    """How the Dice term measures the two areas: sums of probabilities (equation 2), or of their squares."""
    focal: Weight = 0.0
    lovasz: Weight = 0.0
    """Symmetric Lovász hinge, mean over images."""
    image: Weight = 0.0
    """BCE of the image-level head."""
    image_focal: Weight = 0.0
    """Focal loss of the image-level head."""

    @model_validator(mode="after")
    def _has_a_term(self) -> "Loss":
        if not any((self.bce, self.dice, self.focal, self.lovasz, self.image, self.image_focal)):
            raise ValueError("every weight is 0: nothing would be learned")
        return self

    @property
    def needs_image_head(self) -> bool:
        """Whether a term is about the image as a whole."""
        return bool(self.image or self.image_focal)


class Optimizer(Section):
    """What turns gradients into steps; the learning rate is a stage's."""

    name: Literal["adam", "adamw"] = "adam"
    weight_decay: Weight = 0.0
    """`adam`: times the weights, added to the gradient; `adamw`: times the rate, taken off the weights directly."""
    clip: Positive | None = None
    """Gradients whose norm over all weights is larger are scaled down to it; null: never."""


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
    """The rate falls at the end of so many epochs in a row without improvement, and the count begins anew."""
    threshold: Weight = 1e-4
    """An improvement is more than this, absolute, better than the best before."""


class Stage(Section):
    """One training at one size, from the weights of the stage before (paper section 4.3)."""

    size: Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
    """Pixels a side."""
    epochs: Epochs
    batch_size: Annotated[int, Field(ge=1)]
    """Images a step, over all processes together."""
    learning_rate: Positive = 1e-3
    final_learning_rate: Weight = 0.0
    """The lowest rate: where a cosine ends, and where a plateau stops falling."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """`cosine`: annealed once an epoch; `plateau`: lowered when `watch` stands still."""
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
    passes_on: Literal["weights", "best"] = "weights"
    """What the next stage starts from: `weights.safetensors`, or the single epoch with the best score. Of averaged
    predictions both are the same."""
    frozen_epochs: Count = 0
    """First epochs in which the encoder does not learn."""
    positive_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of images with pneumothorax in an epoch; null: every image once."""
    validate_every: Annotated[int, Field(ge=1)] = 1
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
                "validate_every is 1 with best_checkpoints, passes_on=best, early_stopping or a plateau: they go by every "
                "epoch"
            )
        return self

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, from 0, ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

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


Range = tuple[float, float]


class Flip(Section):
    """A1: the horizontal flip."""

    probability: Share = 0.5


class Light(Section):
    """A2: one of random contrast, random gamma and random brightness."""

    probability: Share = 0.3
    contrast: Share = 0.2
    """Contrast changes by a factor of up to 1 ± this."""
    gamma: Range = (0.8, 1.2)
    brightness: Share = 0.2
    """Brightness changes by up to ± this share of the highest grey level."""


class Distortion(Section):
    """A3: one of elastic transform, grid distortion and optical distortion, as albumentations made them in 2019."""

    probability: Share = 0.3
    elastic_alpha: Weight = 120.0
    """Of the elastic transform: uniform noise in ± this, in pixels whatever the size, before it is smoothed."""
    elastic_sigma: Annotated[float, Field(ge=1)] = 6.0
    """Pixels of the Gaussian that smooths the noise. With both defaults the displacement has a deviation of 3.3 px."""
    elastic_affine: Weight = 3.6
    """Three points around the centre move by up to ± this many pixels first, and the image with them."""
    grid: Share = 0.3
    """Each of five steps of the grid is longer or shorter by up to this share."""
    optical: Weight = 2.0
    """Radial distortion of up to ± this."""


class Crop(Section):
    """A4: random sized crop, back at the size of the stage."""

    probability: Share = 0.25
    smallest: Annotated[float, Field(gt=0, le=1)] = 0.6875
    """Share of the height that the smallest crop has: 176 of 256 pixels."""


class Affine(Section):
    """Shift, scale and rotation, by the winner's magnitudes."""

    probability: Share = 0.5
    shift: Share = 0.0625
    """Of up to ± this share of each side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """By a factor of up to 1 ± this."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 45.0
    """Of up to ± so many degrees."""
    border: Literal["reflect", "black"] = "reflect"
    """What comes into view."""


class Exposure(Section):
    """One of gamma, brightness with contrast, and CLAHE, by the runner-up's magnitudes."""

    probability: Share = 0.5
    gamma: Range = (0.6, 1.2)
    brightness: Share = 0.2
    contrast: Share = 0.2
    clahe: Annotated[float, Field(ge=1)] = 4.0
    """Highest clip limit of CLAHE on 4×4 tiles."""


class Blur(Section):
    """One of mean, motion and median blur, as the runner-up's."""

    probability: Share = 0.5
    kernel: Literal[3, 5, 7] = 3
    """Pixels a side."""


class Magnitudes(Section):
    """How strong each group of augmentation is, and how often a sample gets it.

    The paper gives neither for its groups A1 to A4. The defaults are those of the public pipeline of 2019 that has the
    same transforms in the same groups and order.
    """

    A1: Flip = Flip()
    A2: Light = Light()
    A3: Distortion = Distortion()
    A4: Crop = Crop()
    affine: Affine = Affine()
    exposure: Exposure = Exposure()
    blur: Blur = Blur()


class Folds(Section):
    """How the training images are split: K folds, or one hold-out part."""

    count: Annotated[int, Field(ge=2)] = 5
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images that validate the one network; null: K folds."""


class Threshold(Section):
    """The decision rule of the recipe's authors, and which rule turns maps into masks in the end."""

    rule: Literal["searched", "fixed", "image", "component", "triplet", "expected"] = "searched"
    """`searched`: the rule with the best nested Dice; `fixed`: the thresholds of this section; or a rule by its name,
    with the thresholds that the search found for it."""
    binarization: Share = 0.5
    """B-TH: a pixel is foreground from this probability on. Metrics use it during training, `fixed` in the end."""
    removal: Count = 0
    """R-TH: a mask with fewer pixels of a 1024×1024 image is emptied."""
    top: Share | None = None
    """The winner's: the area that `removal` asks for is counted from this probability on; null: from B-TH on."""
    transfer: Literal["none", "share"] = "none"
    """How the searched rule decides on a test set which images have a mask: `none`, by its own thresholds; `share`,
    so many images as was best out of fold, those with the most evidence (docs/thresholds.md says when)."""
    gate: Share | None = None
    """A mask is emptied where the classifying members give the image a lower probability; null: they have no say."""
    smallest_contour: Count = 0
    """Contours that enclose no more pixels of a 1024×1024 image go in the end: regions are dropped, holes filled. Part
    of `fixed`; rules that are searched do without. 0: masks stay as they are."""
    candidates: tuple[tuple[Share, Count, Share], ...] = ()
    """Triplets (top, removal, binarization) of which the best each epoch gives the score that chooses checkpoints;
    none: the Dice by the thresholds above is the score."""


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
    optimizer: Optimizer = Optimizer()
    augmentation: tuple[Literal["A1", "A2", "A3", "A4", "affine", "exposure", "blur"], ...] = ("A1", "A2", "A3", "A4")
    """Groups, whatever their order here: the paper's of Table 9, and those that the winners add."""
    magnitudes: Magnitudes = Magnitudes()
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
    start_data: Annotated[str, Field(pattern=rf"^{NAME}$")] | None = None
    """Name of another data set whose run `start` is, as when round 1's weights go on with round 2's images. Its folds
    are others: fold k starts from its fold k, counted round. Images that validate here may have trained there; the log
    says how many. null: the same data and folds."""
    role: Literal["segment", "classify"] = "segment"
    """What a member gives its ensemble: probability maps, or the probability that the image has any pneumothorax."""
    weight: Positive = 1.0
    """How much a segmenting member's maps count in the mean of its ensemble."""
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
        if self.loss.needs_image_head and not self.network.image_head:
            key = "image" if self.loss.image else "image_focal"
            raise ValueError(f"loss.{key} needs network.image_head=true")
        if self.image_evidence and not self.network.image_head:
            raise ValueError("image_evidence needs network.image_head=true")
        if self.start_data is not None and self.start is None:
            raise ValueError("start_data needs start: name the run that it starts from")
        if self.start == self.name and self.start_data is None:
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
        (['r34', 'r34-valid', 'r50', 'se50'], 'exp5')
        """
        return self.name.rpartition("/")[2]

    def members_that(self, role: str) -> tuple["Recipe", ...]:
        """The members with that role."""
        return tuple(part for part in self.parts() if part.role == role)

    @property
    def weights(self) -> tuple[float, ...] | None:
        """How much each segmenting member counts; None where all count the same."""
        found = tuple(part.weight for part in self.members_that("segment"))
        return found if len(set(found)) > 1 else None

    def parts(self) -> tuple["Recipe", ...]:
        """The recipes to train: an ensemble's members, or else the recipe itself.

        >>> from kit import recipes
        >>> [part.loss.focal for part in recipes.load("sneddy").parts()]
        [1.0, 4.0, 2.0, 4.0]
        """
        if not self.members:
            return (self,)
        whole = self.model_dump(mode="json", exclude={"members"})
        found = []
        for name, changes in self.members.items():
            member = merged(whole, changes) | {"name": f"{self.name}/{name}"}
            if self.start_data and self.start and "start" not in changes:  # as the ensemble, member by member
                member["start"] = f"{self.start}/{name}"
            found.append(Recipe.model_validate(member))
        return tuple(found)

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
