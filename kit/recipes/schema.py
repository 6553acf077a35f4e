"""The typed recipe: everything that a result depends on, with defaults, units and checks.

An ensemble is a recipe with `members`: each is the recipe itself with the member's keys merged over it, sections key by
key, lists as a whole.
"""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from kit.core.documents import Count, Share
from kit.recipes.magnitudes import PAPER, Magnitudes
from kit.recipes.section import Positive, Section, Seed, Weight
from kit.recipes.stage import Stage


class Network(Section):
    """The network (paper section 4.2, Table 3)."""

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
    """Architecture of segmentation-models-pytorch."""
    encoder: str = "resnet34"
    """Encoder of segmentation-models-pytorch; `tu-NAME` is one of timm's."""
    encoder_weights: str | None = "imagenet"
    """`imagenet` (downloaded), the path of a .safetensors or .pth file, or null."""
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] | None = (256, 128, 64, 32, 16)
    """Number of filters in each decoder block of a U-Net, U-Net++ or MAnet, deepest first; null: the architecture's
    default. Other architectures do not have this key."""
    output_stride: Literal[8, 16] | None = None
    """Ratio of the image size to the size of a DeepLab's deepest features; null: the architecture's default."""
    attention: Literal["scse"] | None = None
    """Attention in the decoder blocks of a U-Net; each block then needs at least 16 filters."""
    channels: Literal[1, 3] = 3
    """3: the grey image is repeated; 1: a learned convolution maps it to three channels (paper, Exp1)."""
    normalisation: Literal["unit", "imagenet", "symmetric"] = "unit"
    """How grey levels 0…255 are normalised: `unit` to 0…1 (paper section 4.1), `imagenet` by ImageNet's mean and
    deviation, `symmetric` as (x - 127) / 128."""
    image_head: bool = False
    """Adds an image head, a second output for whether the image has any pneumothorax."""
    image_head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout rate of the pooled features before the image head."""

    @field_validator("encoder_weights")
    @classmethod
    def _none_is_null(cls, value: str | None) -> str | None:
        return None if value in ("none", "") else value

    @model_validator(mode="after")
    def _architecture_has_keys(self) -> "Network":
        for key in ("decoder_channels", "attention", "output_stride"):
            if key in self.idle and getattr(self, key) not in (None, Network.model_fields[key].default):
                raise ValueError(f"{key}: {self.architecture} has none: set it to null")
        if self.attention == "scse" and min(self.decoder_channels or (16,)) < 16:
            raise ValueError("attention: scse needs decoder_channels of 16 or more")
        return self

    @property
    def idle(self) -> set[str]:
        """Keys that the architecture, or a network without an image head, does not have."""
        name = self.architecture
        used = {
            "image_head_dropout": self.image_head,
            "output_stride": name.startswith("DeepLab"),
            "attention": name.startswith("Unet"),
            "decoder_channels": name.startswith("Unet") or name == "MAnet",
        }
        return {key for key, has_effect in used.items() if not has_effect}


class Loss(Section):
    """Weights of the loss terms (paper equations 1 to 3: BCE + Dice), which `kit.training.losses` defines."""

    bce: Weight = 1.0
    """Weight of the binary cross-entropy (equation 1), averaged over pixels."""
    dice: Weight = 1.0
    """Weight of the Dice loss (equation 2)."""
    dice_over: Literal["image", "batch"] = "image"
    """Whether the Dice loss sums over each image separately or over the whole batch."""
    dice_areas: Literal["sums", "squares"] = "sums"
    """How the Dice loss measures areas: as sums of probabilities (equation 2), or of their squares."""
    focal: Weight = 0.0
    """Weight of the focal loss (gamma 2), averaged over pixels."""
    lovasz: Weight = 0.0
    """Weight of the symmetric Lovász hinge, averaged over images."""
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
        """Whether a term with a weight needs the image head."""
        return bool(self.image or self.image_focal)


class Optimizer(Section):
    """How gradients become steps; each stage has its own learning rate."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """The algorithm."""
    weight_decay: Weight = 0.0
    """With `adam` and `sgd`, this multiple of the weights is added to the gradient. With `adamw`, this multiple of the
    weights, times the learning rate, is subtracted from them directly."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """For `sgd`: share of each step that is carried over to the next."""
    nesterov: bool = False
    """For `sgd` with momentum: uses Nesterov momentum."""
    clip: Positive | None = None
    """Scales gradients down to this norm over all weights if they exceed it; null: never."""

    @model_validator(mode="after")
    def _only_sgd_has_momentum(self) -> "Optimizer":
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum is only for sgd; {self.name} has its own: leave it out")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum")
        return self

    @property
    def idle(self) -> set[str]:
        """Keys of SGD, with other optimizers."""
        return set() if self.name == "sgd" else {"momentum", "nesterov"}


class Folds(Section):
    """Split of the training images: K folds, or one hold-out part."""

    count: Annotated[int, Field(ge=2)] = 5
    """Number of folds."""
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images held out to validate a single network; null: K folds."""
    seed: Seed = 0
    """Random seed of the split. The recipe's `seed` does not affect it."""
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a fold's training images that its network learns from, for learning curves. It is drawn within each
    stratum by the recipe's `seed`; smaller shares are subsets of larger ones. Validation and threshold search use all
    images."""

    @property
    def idle(self) -> set[str]:
        """`count` with a hold-out part, and a `train_share` of 1."""
        counted = {"count"} if self.holdout is not None else set()
        return counted | ({"train_share"} if self.train_share == 1 else set())


class Extra(Section):
    """Another data set to train on in every fold; it is never used for validation, scores or the threshold search."""

    data: Annotated[str, Field(pattern=r"^[^\x00]+$")]
    """Name of a folder in `data/`, or path of any other folder in a competition's layout, with or without test images.
    Images that are also in the main data set, or whose patient has test images there, are left out. Each fold also
    leaves out the images of patients in its validation part."""
    labels: Literal["masks", "image"] = "masks"
    """Meaning of its label rows: `masks`, or `image` if they only say whether there is any pneumothorax. Then positives
    train only the image head; negatives, whose masks are known to be empty, train both outputs."""
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of its images, of both positives and negatives, drawn anew in every epoch of every fold, stage and member.
    `positive_share` applies to the drawn images and the main data set together."""


class Threshold(Section):
    """The thresholds of the recipe's authors, and the decision rule that turns maps into masks."""

    rule: Literal["searched", "fixed", "image", "component", "triplet", "expected"] = "searched"
    """The rule that makes the masks. `searched`: the one with the best nested Dice; `fixed`: the thresholds of this
    section; or the name of a rule, with the thresholds that the search found for it."""
    binarization: Share = 0.5
    """B-TH: a pixel belongs to the mask from this probability on. Used by metrics during training, and by `fixed`."""
    removal: Count = 0
    """R-TH: masks with fewer pixels, counted on a 1024×1024 image, are emptied."""
    top: Share | None = None
    """The winner's third threshold: `removal` counts pixels from this probability on; null: from `binarization` on."""
    transfer: Literal["none", "share"] = "none"
    """How the searched rule decides which test images get a mask. `none`: by its thresholds; `share`: the images with
    the most evidence get one, in the share that was best out of fold (docs/thresholds.md says when)."""
    gate: Share | None = None
    """Masks are emptied if the classifying members give the image a lower probability; null: they are not used."""
    smallest_contour: Count = 0
    """As a last step, removes regions and fills holes whose contour encloses at most this many pixels of a 1024×1024
    image. This is part of every rule, so the search finds the best rule for cleaned masks. 0: no cleaning."""
    candidates: tuple[tuple[Share, Count, Share], ...] = ()
    """Triplets (top, removal, binarization). An epoch's score, by which checkpoints are chosen, is the Dice of its best
    triplet; none: the Dice by the thresholds above."""


NOT_INHERITED = ("name", "about", "source", "reported", "untrained")
"""Keys that a recipe does not inherit from the one that it extends."""
ENSEMBLE_KEYS = {*NOT_INHERITED, "folds", "mask_resizing", "precision", "tta", "prevalence", "members"}
"""Keys that a member cannot change."""
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MEMBER = NAME.replace(".", "")
"""Members have no dot in their names, unlike the files of the run, among which are their folders."""


class Recipe(Section):
    """Everything that a result depends on, except the data."""

    name: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})?$")]
    """Name of the run; ENSEMBLE/MEMBER for a member."""
    about: str = ""
    """Description in `kit recipes`, one line."""
    source: str = ""
    """Where the authors describe it."""
    reported: Share | None = None
    """Dice that the authors report for the competition's private test set."""
    untrained: bool = False
    """Whether the recipe has not been trained with the kit on the competition's images, so its score is not known."""
    seed: Seed = 0
    """Random seed of initial weights, batches, augmentation and dropout. Each member draws its own."""
    folds: Folds = Folds()
    mask_resizing: Literal["area", "bilinear", "touched"] = "area"
    """How masks are reduced to the size of a stage. `area`: a pixel is foreground if half of it is covered; `bilinear`:
    if bilinear interpolation is above 0 (the paper's authors); `touched`: if any of it is covered."""
    network: Network = Network()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    augmentation: tuple[Literal["flip", "light", "distortion", "crop", "affine", "exposure", "blur"], ...] = (
        "flip",
        "light",
        "distortion",
        "crop",
    )
    """Groups of augmentation, in any order: those of the paper's Table 9, also called A1 to A4, and those of the
    winners."""
    magnitudes: Magnitudes = Magnitudes()
    extra: Extra | None = None
    """Another data set to train on; null: none."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """Arithmetic precision; `auto`: bf16-mixed on a GPU that has it, 16-mixed on other GPUs, 32-true on a CPU."""
    tta: bool = True
    """Averages the prediction with that of the mirrored image (paper section 4.3)."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of positives for which thresholds are chosen; null: as in the training images."""
    threshold: Threshold = Threshold()
    image_evidence: bool = False
    """Whether maps hold the geometric mean of the pixel's probability and the image head's probability of any
    pneumothorax, so that every rule uses both."""
    start: Annotated[str, Field(pattern=rf"^{NAME}(/{NAME})?$")] | None = None
    """Each fold starts from the last weights of this recipe's run on the same data and folds (paper, Exp3)."""
    start_data: Annotated[str, Field(pattern=rf"^{NAME}$")] | None = None
    """Name of the data set on which the run `start` was trained, if it is another one, as when round 1's weights are
    trained further on round 2's images. Fold k then starts from fold k of that run, modulo its number of folds. Images
    that validate here may have trained there; the log says how many. null: the same data and folds."""
    role: Literal["segment", "classify"] = "segment"
    """What a member predicts: probability maps, or the probability that the image has any pneumothorax."""
    weight: Positive = 1.0
    """Weight of a segmenting member in the mean of its ensemble's maps."""
    members: dict[Annotated[str, Field(pattern=rf"^{MEMBER}$")], dict[str, Any]] = Field(default_factory=dict)
    """Members of an ensemble: mapping from names to the keys that the member changes in this recipe."""

    @field_validator("augmentation", mode="before")
    @classmethod
    def _by_the_papers_names(cls, value: Any) -> Any:
        return [PAPER.get(name, name) for name in value] if isinstance(value, list | tuple) else value

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in value if stage.name is not None]
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two stages are called {min(duplicates)}")
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
            raise ValueError("start is the recipe itself: name another recipe")
        if self.network.architecture == "PAN" and any(stage.size < 128 for stage in self.stages):
            raise ValueError("network.architecture=PAN needs stages of a size of 128 or more")
        if self.role == "classify" and not self.network.image_head:
            raise ValueError("role=classify needs network.image_head=true")
        if self.extra and self.extra.labels == "image" and not self.loss.needs_image_head:
            raise ValueError("extra.labels=image needs network.image_head=true and a loss.image above 0")
        return self

    @property
    def extra_weight(self) -> float:
        """Share of the extra images that each epoch draws."""
        return self.extra.weight if self.extra else 1.0

    @property
    def is_gated(self) -> bool:
        """Whether classifying members can empty masks."""
        return bool(self.members and self.members_that("classify"))

    @property
    def described(self) -> str:
        """One line with the description, source and reported score."""
        reported = f"reported: {self.reported:.4f} private" if self.reported is not None else ""
        notes = "; ".join(filter(None, (self.source, reported, "not trained here" if self.untrained else "")))
        return f"{self.about} [{notes}]" if notes else self.about

    @property
    def label(self) -> str:
        """Name without the ensemble's name.

        >>> from kit import recipes
        >>> [part.label for part in recipes.load("sneddy").parts()], recipes.load("exp5").label
        (['r34', 'r34-valid', 'r50', 'se50'], 'exp5')
        """
        return self.name.rpartition("/")[2]

    def members_that(self, role: str) -> tuple["Recipe", ...]:
        """Returns the members that have a role."""
        return tuple(part for part in self.parts() if part.role == role)

    @property
    def weights(self) -> tuple[float, ...] | None:
        """Weight of each segmenting member, or None if all are equal."""
        weights = tuple(part.weight for part in self.members_that("segment"))
        return weights if len(set(weights)) > 1 else None

    def parts(self) -> tuple["Recipe", ...]:
        """Returns the recipes to train: the members of an ensemble, otherwise the recipe itself.

        >>> from kit import recipes
        >>> [part.loss.focal for part in recipes.load("sneddy").parts()]
        [1.0, 4.0, 2.0, 4.0]
        """
        if not self.members:
            return (self,)
        whole = self.model_dump(mode="json", exclude={"members"})
        parts = []
        for name, changes in self.members.items():
            member = merged(whole, changes) | {"name": f"{self.name}/{name}"}
            if self.start_data and self.start and "start" not in changes:  # each member from its namesake
                member["start"] = f"{self.start}/{name}"
            parts.append(Recipe.model_validate(member))
        return tuple(parts)

    def resolved(self) -> dict[str, Any]:
        """Returns the values of all keys that have an effect.

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
        content["stages"] = [stage.resolved() for stage in self.stages]
        for changes in content["members"].values():
            if "stages" in changes:
                changes["stages"] = [Stage.model_validate(stage).resolved() for stage in changes["stages"]]
        return {key: value for key, value in content.items() if value or key not in NOT_INHERITED}

    @property
    def idle_keys(self) -> set[tuple[str, str]]:
        """(section, key) of each key of a section that has no effect."""
        keys = {
            "folds": self.folds.idle,
            "loss": set() if self.loss.dice else {"dice_over", "dice_areas"},
            "magnitudes": set(Magnitudes.model_fields) - set(self.augmentation),
            "network": self.network.idle,
            "optimizer": self.optimizer.idle,
        }
        return {(section, key) for section, idle in keys.items() for key in idle}

    def dump(self) -> str:
        """Formats the resolved recipe as YAML."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True, width=110)


def merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns a mapping with changes merged over it: mappings key by key, other values as a whole."""
    return whole | {
        key: merged(whole[key], value) if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
        for key, value in changes.items()
    }
