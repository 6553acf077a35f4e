"""The file thresholds.json: the rule in use, how well it did where it was chosen, and what it was chosen on.

People edit the file and bring their own: values out of their range would silently change a submission.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, InstanceOf

from kit.core.documents import Document, Number, Share, parse_document
from kit.core.errors import KitError
from kit.core.files import read_bytes
from kit.inference import rules
from kit.inference.rules import REMEDY, Rule


class Measures(Document):
    """Everything in thresholds.json but the rule itself; all of it is optional in a file written by hand."""

    nested_dice: Share | None = None
    """Mean Dice where each group is scored by what was chosen on the other groups: rule, thresholds and share; None if
    all images are of one group."""
    interval: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    """Bootstrap 95 % interval of `nested_dice` over patients."""
    dice_all_empty: Share | None = None
    """Mean Dice of predicting nothing."""
    dice_positives: Share | None = None
    """Mean nested Dice of the positives; None without positives."""
    negatives_empty: Share | None = None
    """Share of the negatives whose mask is empty in the nested estimate; None without negatives."""
    apparent_dice: Share | None = None
    """Mean Dice of this rule on the images that it was chosen on: optimistic."""
    masked: Share | None = None
    """Share of the out-of-fold images that get a mask by this rule."""
    share: Share | None = None
    """Share of a whole test set's images that get a mask; None if the rule's own thresholds decide."""
    prevalence: Share | None = None
    """Share of positives that all means are weighted to; None if the images' own share is kept."""
    plateau: dict[str, list[int | Number]] = Field(default_factory=dict)
    """The range of each threshold, the others fixed, that loses no more than 0.001."""
    spread: dict[str, list[Number]] | None = None
    """The 2.5th, 50th and 97.5th percentile of each threshold over bootstrap samples; None if none were drawn."""
    rules: tuple[str, ...] | None = None
    """Names of the rules that the choice was among; empty for thresholds that the recipe gives itself."""
    recipe: str | None = None
    """Name of the recipe that made the maps; None for external maps."""
    hashes: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file that the rule was chosen on, by name."""


MEASURES = {
    "nested_dice": "nested Dice",
    "interval": "95 % interval",
    "dice_all_empty": "all empty",
    "dice_positives": "on positives",
    "negatives_empty": "negatives empty",
    "apparent_dice": "apparent",
}
"""Table headings of a rule's scores, by key."""
_MEASURED = (*MEASURES, "masked", "rules")
"""Keys that every search of this version writes."""


class Thresholds(Measures):
    """The whole file, its rule parsed."""

    rule: InstanceOf[Rule]

    @property
    def asked(self) -> str:
        """The value of `threshold.rule` that puts this file in use: `searched`, `fixed` or the name of a rule."""
        if self.rules is None or len(self.rules) > 1:
            return "searched"
        return self.rules[0] if self.rules else "fixed"

    @property
    def measures(self) -> dict[str, Any]:
        """The rule's scores by key; empty if the file was written by hand or by a version with other keys."""
        return {} if set(_MEASURED) - self.model_fields_set else {name: getattr(self, name) for name in _MEASURED}

    @property
    def content(self) -> dict[str, Any]:
        """The JSON values of the file, the rule's parameters first."""
        measures = self.model_dump(mode="json", include=set(Measures.model_fields))
        if self.spread is None:
            del measures["spread"]
        return rules.parameters(self.rule) | measures


def read(path: Path | str) -> Thresholds:
    """Reads a thresholds.json; a file written by hand may hold the rule alone.

    Raises:
        KitError: the file is missing or a value is not what it should be; names the key and what was expected.
    """
    content = read_bytes(path)
    rule = rules.parse(content, path)
    measures: Measures = parse_document(content, Measures, path, REMEDY)
    return Thresholds(rule=rule, **measures.model_dump(exclude_unset=True))


def read_measured(path: Path | str) -> Thresholds:
    """Reads a thresholds.json that a search has written.

    Raises:
        KitError: as `read`, or the file holds a rule without its scores, or those of an earlier version.
    """
    thresholds = read(path)
    if missing := [name for name in _MEASURED if name not in thresholds.model_fields_set]:
        raise KitError(f"{path}: lacks {', '.join(missing)}: {REMEDY}")
    return thresholds
