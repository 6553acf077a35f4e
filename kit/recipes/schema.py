"""The typed recipe: everything that a result depends on, its defaults and units, and what is refused.

An ensemble is a recipe with `members`: each is the recipe itself with the keys that the member says merged over it,
sections key by key, lists as a whole.
"""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from kit.recipes.magnitudes import PAPER, Magnitudes
from kit.recipes.section import Count, Positive, Section, Seed, Share, Weight
from kit.recipes.stage import Stage


class Network(Section):
    """The network that is trained (paper section 4.2, Table 3)."""

    architecture: Literal[
        "Unet",
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "DeepLabV3",
        "DeepLabV3Plus",
        "PAN",
        "UPerNet",
        "Segformer",
    ] = "Unet"
    """Name of an architecture of segmentation-models-pytorch."""
    encoder: str = "resnet34"
    """Name of an encoder of segmentation-models-pytorch; `tu-NAME` is timm's."""
    encoder_weights: str | None = "imagenet"
    """`imagenet` (downloaded), the path of a .safetensors or .pth file, or null."""
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] | None = (256, 128, 64, 32, 16)
    """Number of filters in each decoder block of a U-Net, U-Net++ or MAnet, the deepest first; null: the architecture's
    default. Other architectures do not have this key."""
    output_stride: Literal[8, 16] | None = None
    """How many times smaller than the image the deepest features of a DeepLab are; null: the architecture's default."""
    attention: Literal["scse"] | None = None
    """Attention in the decoder blocks of a U-Net, each of which then needs at least 16 filters."""
    channels: Literal[1, 3] = 3
    """3: the grey image three times; 1: once, and a learned convolution maps it to three channels (paper, Exp1)."""
    normalisation: Literal["unit", "imagenet", "symmetric"] = "unit"
    """How grey levels 0…255 are normalised: `unit` to 0…1 (paper section 4.1), `imagenet` by ImageNet's mean and
    deviation, `symmetric` as (x - 127) / 128."""
    image_head: bool = False
    """Adds a second output: whether the image has any pneumothorax."""
    image_head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout rate of the pooled features before the image head."""

    @field_validator("encoder_weights")
    @classmethod
    def _none_is_null(cls, value: str | None) -> str | None:
        return None if value in ("none", "") else value

    @model_validator(mode="after")
    def _architecture_has_it(self) -> "Network":
        for key in ("decoder_channels", "attention", "output_stride"):
            if key in self.idle and getattr(self, key) not in (None, Network.model_fields[key].default):
                raise ValueError(f"{key}: {self.architecture} has none: set it to null")
        if self.attention == "scse" and min(self.decoder_channels or (16,)) < 16:
            raise ValueError("attention: scse needs decoder_channels of 16 or more")
        return self

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        kind = self.architecture
        used = {
            "image_head_dropout": self.image_head,
            "output_stride": kind.startswith("DeepLab"),
            "attention": kind.startswith("Unet"),
            "decoder_channels": kind.startswith("Unet") or kind == "MAnet",
        }
        return {key for key, does in used.items() if not does}


class Loss(Section):
    """Weights of the terms of the loss (paper equations 1 to 3: BCE + Dice); `kit.training.losses` defines each."""

    bce: Weight = 1.0
    """Weight of the binary cross-entropy (equation 1), a mean over pixels."""
    dice: Weight = 1.0
    """Weight of the Dice loss (equation 2)."""
    dice_over: Literal["image", "batch"] = "image"
    """Whether the sums of the Dice loss run over each image by itself or over all pixels of the batch."""
    dice_areas: Literal["sums", "squares"] = "sums"
    """How the Dice loss measures areas: as sums of probabilities (equation 2), or of their squares."""
    focal: Weight = 0.0
    """Weight of the focal loss (gamma 2), a mean over pixels."""
    lovasz: Weight = 0.0
    """Weight of the symmetric Lovász hinge, a mean over images."""
    image: Weight = 0.0
    """Weight of the binary cross-entropy of the image head."""
    image_focal: Weight = 0.0
    """Weight of the focal loss of the image head."""

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
    """How gradients become steps; each stage has its own learning rate."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """The algorithm."""
    weight_decay: Weight = 0.0
    """With `adam` and `sgd`, this multiple of the weights is added to the gradient. With `adamw`, this multiple of the
    weights, times the learning rate, is subtracted from them directly."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """For `sgd`: how much of each step is carried over to the next one."""
    nesterov: bool = False
    """For `sgd` with momentum: uses Nesterov momentum."""
    clip: Positive | None = None
    """Scales gradients down to this norm, taken over all weights, if they exceed it; null: never."""

    @model_validator(mode="after")
    def _momentum_is_sgds(self) -> "Optimizer":
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum belongs to sgd, and {self.name} has its own: leave it out")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum")
        return self

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        return set() if self.name == "sgd" else {"momentum", "nesterov"}


class Folds(Section):
    """How the training images are split: K folds, or one hold-out part."""

    count: Annotated[int, Field(ge=2)] = 5
    """Number of folds."""
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images that is held out to validate a single network; null: K folds."""
    seed: Seed = 0
    """Random seed of the split. The recipe's `seed` does not affect it."""
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a fold's training images that its network learns from, for a learning curve. It is drawn within each
    stratum by the recipe's `seed`, and a smaller share is part of a larger one. Validation and threshold search use
    all images."""

    @property
    def idle(self) -> set[str]:
        """As of `Section`."""
        counted = {"count"} if self.holdout is not None else set()
        return counted | ({"train_share"} if self.train_share == 1 else set())


class Extra(Section):
    """Another data set to train on in every fold; it is never used to validate, score or search."""

    data: Annotated[str, Field(pattern=r"^[^\x00]+$")]
    """Name of a folder in `data/`, or the path of any other: a competition's folder, with or without test images.
    Images that are in the data set itself, or whose patient has test images there, are left out. Each fold also leaves
    out those whose patient is in its validation part."""
    labels: Literal["masks", "image"] = "masks"
    """What its label rows say: `masks`, or with `image` only whether there is any pneumothorax, not where. Then
    positives teach the image head only and add nothing to the mask terms of the loss; negatives, whose masks are known
    to be empty, teach both."""
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of its images in an epoch, of positives and negatives alike. Each epoch of each fold, stage and member
    draws a new sample. `positive_share` counts the drawn positives together with those of the data set itself."""


class Threshold(Section):
    """The decision rule of the recipe's authors, and the rule that finally turns maps into masks."""

    rule: Literal["searched", "fixed", "image", "component", "triplet", "expected"] = "searched"
    """The rule that makes the masks. `searched`: the one with the best nested Dice; `fixed`: the thresholds of this
    section; or the name of a rule, with the thresholds that the search found for it."""
    binarization: Share = 0.5
    """B-TH: a pixel belongs to the mask from this probability on. Used by metrics during training, and by `fixed`."""
    removal: Count = 0
    """R-TH: a mask with fewer pixels, counted on a 1024×1024 image, is emptied."""
    top: Share | None = None
    """The winner's third threshold: `removal` counts pixels from this probability on; null: from B-TH on."""
    transfer: Literal["none", "share"] = "none"
    """How the searched rule decides which images of a test set get a mask. `none`: by its own thresholds; `share`: the
    images with the most evidence, as large a share as was best out of fold (docs/thresholds.md says when)."""
    gate: Share | None = None
    """A mask is emptied if the classifying members give the image a lower probability; null: they are not used."""
    smallest_contour: Count = 0
    """As a last step, regions whose contour encloses at most this many pixels of a 1024×1024 image are removed, and
    holes of that size filled. This is part of every rule, so the search finds the best rule for cleaned masks. 0: no
    cleaning."""
    candidates: tuple[tuple[Share, Count, Share], ...] = ()
    """Triplets (top, removal, binarization). The score that chooses checkpoints is the Dice of the best one in each
    epoch; none: the Dice by the thresholds above."""


ITS_OWN = ("name", "about", "source", "reported", "untrained")
"""Keys that a recipe does not take from the one that it extends."""
OF_THE_WHOLE = {*ITS_OWN, "folds", "mask_resizing", "precision", "tta", "prevalence", "members"}
"""Keys that a member cannot change."""
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MEMBER = NAME.replace(".", "")
"""A member's folder lies among the run's files, which have a dot in their names."""


class Recipe(Section):
    """Everything that a result depends on, except the data."""

    name: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})?$")]
    """Name of the run; that of a member is ENSEMBLE/MEMBER."""
    about: str = ""
    """What the recipe is, in a line of `kit recipes`."""
    source: str = ""
    """Where its authors describe it."""
    reported: Share | None = None
    """The Dice that its authors report for the competition's private test set."""
    untrained: bool = False
    """Nobody has trained it with the kit on the competition's images yet, so its score here is not known."""
    seed: Seed = 0
    """Random seed of the training: initial weights, batches, augmentation, dropout. Each member draws its own."""
    folds: Folds = Folds()
    mask_resizing: Literal["area", "bilinear", "touched"] = "area"
    """How masks are reduced to the size of a stage. A pixel is foreground with `area` if half of it is covered, with
    `bilinear` if bilinear interpolation is above 0 (the paper's authors), with `touched` if any of it is covered."""
    network: Network = Network()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    augmentation: tuple[Literal["flip", "light", "distortion", "crop", "affine", "exposure", "blur"], ...] = (
        "flip",
        "light",
        "distortion",
        "crop",
    )
    """Groups of augmentation, in any order: those of the paper's Table 9, which may also be called A1 to A4, and those
    that the winners add."""
    magnitudes: Magnitudes = Magnitudes()
    extra: Extra | None = None
    """Another data set to train on, see its section below; null: none."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """Precision of the arithmetic; `auto`: bf16-mixed on a GPU, 16-mixed on one without it, 32-true on a CPU."""
    tta: bool = True
    """Averages the prediction with that of the mirrored image (paper section 4.3)."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of positives that thresholds are chosen for; null: as in the training images."""
    threshold: Threshold = Threshold()
    image_evidence: bool = False
    """Maps hold the geometric mean of the pixel's probability and the image head's probability of any pneumothorax, so
    that every rule uses both."""
    start: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})?$")] | None = None
    """Each fold starts from the last weights of this recipe's run on the same data and folds (paper, Exp3)."""
    start_data: Annotated[str, Field(pattern=rf"^{NAME}$")] | None = None
    """Name of another data set if the run `start` was trained on that, such as round 1's weights to continue with on
    round 2's images. Fold k then starts from its fold k, or from the first again if it has fewer. Images that validate
    here may have trained there; the log says how many. null: the same data and folds."""
    role: Literal["segment", "classify"] = "segment"
    """What a member contributes: probability maps, or the probability that the image has any pneumothorax."""
    weight: Positive = 1.0
    """Weight of a segmenting member's maps in the mean of its ensemble."""
    members: dict[Annotated[str, Field(pattern=rf"^{MEMBER}$")], dict[str, Any]] = Field(default_factory=dict)
    """The members of an ensemble: by name, what each changes in this recipe."""

    @field_validator("augmentation", mode="before")
    @classmethod
    def _by_the_papers_names(cls, value: Any) -> Any:
        return [PAPER.get(name, name) for name in value] if isinstance(value, list | tuple) else value

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in value if stage.name is not None]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two of them are called {min(twice)}")
        return value

    @field_validator("members")
    @classmethod
    def _folders_are_free(cls, value: dict, info: ValidationInfo) -> dict:
        if value and "/" in info.data.get("name", ""):
            raise ValueError(f"a recipe with members has a name without '/', not {info.data['name']}")
        if taken := [name for name in value if re.fullmatch(r"oof|thresholds|fold\d+", name)]:
            raise ValueError(f"{taken[0]} is a folder of every run: rename the member")
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
        if self.network.architecture == "PAN" and any(stage.size < 128 for stage in self.stages):
            raise ValueError("network.architecture=PAN needs stages of a size of 128 or more")
        if self.role == "classify" and not self.network.image_head:
            raise ValueError("role=classify needs network.image_head=true")
        if self.extra and self.extra.labels == "image" and not self.loss.needs_image_head:
            raise ValueError("extra.labels=image needs network.image_head=true and a loss.image above 0")
        return self

    @property
    def extra_weight(self) -> float:
        """Share of the extra images that an epoch draws."""
        return self.extra.weight if self.extra else 1.0

    @property
    def is_gated(self) -> bool:
        """Whether classifying members have a say in whether an image's mask is empty."""
        return bool(self.members and self.members_that("classify"))

    @property
    def described(self) -> str:
        """What it is about, whose it is, and what is known of it, in a line."""
        reported = f"reported: {self.reported:.4f} private" if self.reported is not None else ""
        known = "; ".join(filter(None, (self.source, reported, "not trained here" if self.untrained else "")))
        return f"{self.about} [{known}]" if known else self.about

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

    def resolved(self) -> dict[str, Any]:
        """Every key at its value, but for those that do nothing beside the others.

        >>> from kit import recipes
        >>> exp2 = recipes.load("exp2", "augmentation=[A1]").resolved()
        >>> exp2["folds"], list(exp2["magnitudes"]), exp2["stages"][0]["keep"]
        ({'holdout': 0.1, 'seed': 0}, ['flip'], {'swa': {'last': 5, 'batch_norm': 'averaged'}})
        """
        content = self.model_dump(mode="json")
        if self.extra is None:
            del content["extra"]
        for section, key in set.intersection(*(part.idle_keys for part in self.parts())):
            del content[section][key]
        content["stages"] = [stage.shown() for stage in self.stages]
        for changes in content["members"].values():
            if "stages" in changes:
                changes["stages"] = [Stage.model_validate(stage).shown() for stage in changes["stages"]]
        return {key: value for key, value in content.items() if value or key not in ITS_OWN}

    @property
    def idle_keys(self) -> set[tuple[str, str]]:
        """Keys, each with its section, that do nothing beside what others say."""
        keys = {
            "folds": self.folds.idle,
            "loss": set() if self.loss.dice else {"dice_over", "dice_areas"},
            "magnitudes": set(Magnitudes.model_fields) - set(self.augmentation),
            "network": self.network.idle,
            "optimizer": self.optimizer.idle,
        }
        return {(section, key) for section, found in keys.items() for key in found}

    def dump(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True, width=110)


def merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The mapping with changes over it: mappings key by key, anything else as a whole."""
    return whole | {
        key: merged(whole[key], value) if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
        for key, value in changes.items()
    }
