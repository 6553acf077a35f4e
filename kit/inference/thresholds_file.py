"""thresholds.json as a typed document: the chosen rule with its parameters, and what it was worth where it was chosen.

People edit the file and bring their own: values out of their range would silently change a submission.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from kit.core.documents import Count, Document, Number, Share, read_document
from kit.core.errors import KitError
from kit.core.files import read_json

REMEDY = "remove it and run `kit thresholds` again"
_MEASURES = ("dice", "interval", "nested_dice", "dice_positives", "negatives_empty")


class Thresholds(Document):
    """What all rules have in common. A file by hand may hold the rule alone."""

    model_config = ConfigDict(extra="allow")

    gate: Share | None = None
    """P(the image has any pneumothorax) from which on the rule decides; None: no gate."""
    smallest_contour: Count = 0
    """Contours that enclose no more pixels of a 1024×1024 image are dropped or filled; 0: none."""
    dice: Share | None = None
    interval: tuple[Share, Share] | None = None
    nested_dice: Share | None = None
    nested_choice: Share | None = None
    dice_all_empty: Share | None = None
    dice_positives: Share | None = None
    negatives_empty: Share | None = None
    masked: Share | None = None
    share: Share | None = None
    """Share of the images of a whole test set that get a mask; None: the rule's own thresholds say which do."""
    plateau: dict[str, list[Number]] = Field(default_factory=dict)
    spread: dict[str, tuple[Number, Number, Number]] = Field(default_factory=dict)
    prevalence: Share | None = None
    recipe: str | None = None
    use: str | None = None
    """The rule that somebody has chosen; None: the best nested Dice decides."""
    asked: str = "searched"
    """The recipe's `threshold.rule` by which this rule is in use."""
    hashes: dict[str, str] = Field(default_factory=dict)


class Image(Thresholds):
    """Parameters of `ImageRule`."""

    rule: Literal["image"]
    binarization: Share
    removal: Count


class Component(Image):
    """Parameters of `ComponentRule`."""

    rule: Literal["component"]  # type: ignore[assignment]


class Triplet(Image):
    """Parameters of `TripletRule`."""

    rule: Literal["triplet"]  # type: ignore[assignment]
    top: Share


class Expected(Thresholds):
    """Parameters of `ExpectedRule`."""

    rule: Literal["expected"]
    foreground: Annotated[list[Share], Field(min_length=256, max_length=256)]
    trust: Annotated[float, Field(ge=0, le=1000)]
    levels: list[Annotated[int, Field(ge=0, le=255)]]
    weights: list[Number]
    bias: Number

    @model_validator(mode="after")
    def _one_weight_a_level(self) -> "Expected":
        if len(self.levels) != len(self.weights):
            raise ValueError(f"{len(self.levels)} levels and {len(self.weights)} weights: one weight a level is wanted")
        return self


_AnyRule = Annotated[Image | Component | Triplet | Expected, Field(discriminator="rule")]


def read(path: Path | str) -> Image | Component | Triplet | Expected:
    """The content of a thresholds.json.

    Raises:
        KitError: the file is missing or a value is not what it should be; names the key and what was expected.
    """
    return read_document(path, _AnyRule, REMEDY)


def search_of(found: dict[str, Any]) -> str:
    """What the rule in use was taken from: a searched rule by its name, or the recipe's own thresholds, `fixed`."""
    return "fixed" if found.get("asked") == "fixed" else found["rule"]


def read_measured(path: Path | str) -> dict[str, Any]:
    """The content of a thresholds.json that a search has written: its keys and values, the rule's measures among them.

    Raises:
        KitError: as `read`, or the file holds a rule without its measures.
    """
    found = read(path)
    if missing := [name for name in _MEASURES if name not in found.model_fields_set]:
        raise KitError(f"{path}: lacks {', '.join(missing)}: {REMEDY}")
    return read_json(path)
