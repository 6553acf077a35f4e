"""What thresholds.json tells of the chosen rule: what it was worth where it was chosen, and on what that was.

People edit the file and bring their own: values out of their range would silently change a submission.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from kit.core.documents import Document, Number, Share, read_document
from kit.core.errors import KitError
from kit.core.files import read_json
from kit.inference import rules
from kit.inference.rules import REMEDY


class Measures(Document):
    """What a rule was worth where it was chosen; thresholds.json holds it by these names."""

    nested_dice: Share | None = None
    """Mean Dice where each group is scored by what is chosen on the others: kind of rule, thresholds and share; None
    where all images are of one group."""
    interval: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    """Bootstrap 95 % interval of `nested_dice` over patients."""
    dice_all_empty: Share | None = None
    """Mean Dice of predicting nothing."""
    dice_positives: Share | None = None
    """The part of the positives in `nested_dice`: their mean; None without positives."""
    negatives_empty: Share | None = None
    """Share of the negatives whose mask is empty, counted as `nested_dice`; None without negatives."""
    apparent_dice: Share | None = None
    """Mean Dice by this rule on the images that it was chosen on: optimistic."""
    masked: Share | None = None
    """Share of the images that get a mask by this rule."""
    share: Share | None = None
    """Share of the images of a whole test set that get a mask; None: the rule's own thresholds say which do."""
    prevalence: Share | None = None
    """Share of positives that all means are weighted to; None: that of the images."""
    plateau: dict[str, list[int | Number]] = Field(default_factory=dict)
    """The range of each threshold, the others held, that loses no more than 0.001."""
    spread: dict[str, list[Number]] | None = None
    """The 2.5th, 50th and 97.5th percentile of each threshold over bootstrap samples; None: none were drawn."""
    rules: tuple[str, ...] | None = None
    """Names of the rules that it was chosen among; none: nobody chose, its thresholds were given."""


MEASURES = {
    "nested_dice": "nested Dice",
    "interval": "95 % interval",
    "dice_all_empty": "all empty",
    "dice_positives": "on positives",
    "negatives_empty": "negatives empty",
    "apparent_dice": "apparent",
}
"""What tables call the scores of a rule, by their keys."""
_MEASURED = (*MEASURES, "masked", "rules")
"""Measures that every search of this version writes."""


class Thresholds(rules.Written, Measures):
    """The file; the rule's own parameters are there by their names. A file by hand may hold the rule alone."""

    model_config = ConfigDict(extra="allow")

    recipe: str | None = None
    hashes: dict[str, str] = Field(default_factory=dict)

    @property
    def asked(self) -> str:
        """The `threshold.rule` of a recipe that this answers: `searched`, `fixed` or a rule by its name."""
        if self.rules is None or len(self.rules) > 1:
            return "searched"
        return self.rules[0] if self.rules else "fixed"

    @property
    def measures(self) -> dict[str, Any]:
        """What the rule is worth by this version's keys; none in a file by hand, or of a version with other keys."""
        return {} if set(_MEASURED) - self.model_fields_set else {name: getattr(self, name) for name in _MEASURED}


def read(path: Path | str) -> Thresholds:
    """The content of a thresholds.json.

    Raises:
        KitError: the file is missing or a value is not what it should be; names the key and what was expected.
    """
    rules.read(path)  # its parameters
    return read_document(path, Thresholds, REMEDY)


def read_measured(path: Path | str) -> dict[str, Any]:
    """The content of a thresholds.json that a search has written: its keys and values, the rule's measures among them.

    Raises:
        KitError: as `read`, or the file holds a rule without its measures, or those of an earlier version.
    """
    found = read(path)
    if missing := [name for name in _MEASURED if name not in found.model_fields_set]:
        raise KitError(f"{path}: lacks {', '.join(missing)}: {REMEDY}")
    return read_json(path)
