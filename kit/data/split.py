"""How folds are made: in so many parts or with a hold-out, and what the file beside a fold file says of it."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from kit.core.documents import Document, Sha256, told
from kit.core.errors import KitError
from kit.core.store import inputs_of


@dataclass(frozen=True)
class Split:
    """How folds are made."""

    count: int | None = 5
    """Number of folds; None with a hold-out."""
    holdout: float | None = None
    """Share of the images to hold out instead (the paper: 0.2 in Exp1, 0.1 in the others), kept to the nearest
    fraction with a denominator of at most 20."""
    seed: int = 0
    """Of the shuffle."""
    hash_patients: bool = field(default=False, compare=False)
    """Write a hash in the place of each patient's id; the folds are the same."""

    def __post_init__(self) -> None:
        if self.holdout is not None:
            object.__setattr__(self, "count", None)

    def __str__(self) -> str:
        how = f"{self.count} folds" if self.holdout is None else f"a hold-out of {self.holdout:g}"
        return f"{how} of seed {self.seed}" if self.seed else how

    @property
    def slug(self) -> str:
        """What tells the fold files of a data set apart.

        >>> Split(5).slug, Split(holdout=0.1, seed=3).slug
        ('5fold', 'holdout10-seed3')
        """
        how = f"{self.count}fold" if self.holdout is None else f"holdout{100 * self.holdout:g}"
        return f"{how}-seed{self.seed}" if self.seed else how


class Origin(Document):
    """What is read of `folds/NAME.origin.json`; a fold file by hand has none, and all is unknown."""

    labels: Sha256 | None = None
    content: Sha256 | None = None
    """Of the fold file itself."""
    data: str | None = None
    """The folder of the data."""
    folds: int | None = None
    holdout: float | None = None
    seed: int | None = None


def origin_of(path: Path | str) -> Origin:
    """What a fold file was made from.

    Raises:
        KitError: the file that tells it is malformed.
    """
    path = Path(path)
    try:
        return Origin.model_validate(inputs_of(path))
    except ValidationError as error:
        beside = path.with_suffix(".origin.json")
        raise KitError(f"{beside}: {told(error)}: remove it and {path.name}, and run `make folds` again") from None


def made_as(path: Path | str) -> Split | None:
    """How a fold file was made; None where nothing tells."""
    found = origin_of(path)
    if not {"folds", "holdout", "seed"} <= found.model_fields_set or found.seed is None:
        return None
    return Split(found.folds, found.holdout, found.seed)
