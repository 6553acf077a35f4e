"""Schema of report.json, which holds every number of a run's page; the page is rendered from it."""

from typing import Literal

from pydantic import Field

from kit.core.documents import Document
from kit.report.figures import Figure

Interval = tuple[float, float] | None
"""Bounds of a 95 % bootstrap interval over patients; None if there is only one patient."""


class Measure(Document):
    """A score of the headline, with its name and its meaning."""

    name: str
    value: float | None
    note: str
    kind: Literal["score", "share"] = "score"


class Search(Document):
    """Result of the threshold search for one rule, with or without TTA."""

    rule: str
    tta: bool
    thresholds: str
    nested_dice: float | None
    interval: Interval
    """Interval of the nested Dice."""
    dice_all_empty: float
    dice_positives: float | None
    negatives_empty: float | None
    apparent_dice: float
    used: bool
    """Whether the run predicts with this rule."""
    figures: list[Figure] = Field(default_factory=list)
    """Figures of the search; empty if the search used other maps (with or without TTA) than the run predicts with."""


class Part(Document):
    """Scores of a part of the images, each with the same weight."""

    group: str
    part: str
    images: int
    positives: int
    dice: float
    interval: Interval
    dice_positives: float | None
    negatives_empty: float | None


class Confusion(Document):
    """Number of images by truth and by whether there is a mask, wherever it lies; rates are None without images."""

    found: int
    missed: int
    false_positives: int
    kept_empty: int
    sensitivity: float | None
    specificity: float | None
    positive_predictive_value: float | None
    negative_predictive_value: float | None


class TrainedStage(Document):
    """A trained stage of a fold."""

    fold: int
    stage: int
    size: int
    epochs: int
    seconds: float
    dice: float
    iou: float
    validation_loss: float
    weights: str


class Learning(Document):
    """Learning curves and stages of one network; `member` is the ensemble member's name, or empty."""

    member: str
    stages: list[TrainedStage]
    figures: list[Figure]


class Submission(Document):
    """A scored submission for the data set."""

    run: str
    destination: str
    nested: float | None
    apparent: float | None
    public: float | None
    private: float | None
    time: str
    used: bool
    """Whether the submission is from this run."""


class Case(Document):
    """An image, see `kit.report.cases`."""

    image_id: str
    patient_id: str
    fold: int
    stratum: str
    sex: str
    age: int | None
    view: str
    image_cm2: float | None
    """Area of the whole image; None if its header has no pixel size."""
    truth_area: int
    mask_area: int
    dice: float
    hd95: float | None
    """See `kit.report.cases.hausdorff95`; in pixels of a 1024×1024 image, None if truth or mask is empty."""
    image_probability: float
    outcome: str


class Card(Document):
    """Model card: intended use, data, recipe and software."""

    intended: str
    not_for: str
    licence: str
    overview: dict[str, int]
    """Number of images by kind of label."""
    breakdown: list[dict[str, str]]
    """Number of images by sex, view and finding."""
    recipe: str
    """The resolved recipe as YAML."""
    software: dict[str, str]
    machine: dict[str, str]
    hashes: dict[str, str]


class Report(Document):
    """Content of a run's page."""

    schema_version: Literal[1] = 1
    run: str
    """NAME/RECIPE."""
    extra: list[str]
    """Names of the extra data sets used in training."""
    about: str
    measures: list[Measure]
    verdict: str
    """Why the run may be no better than an empty submission; empty if it is better."""
    reason: str
    """Which rule is in use, and why."""
    cases: list[Case]
    smallest_contour: int
    """Contours of at most this many pixels of a 1024×1024 image are dropped or filled; 0 keeps all."""
    searches: list[Search]
    parts: list[Part]
    finding: str
    """Name of what positive images show."""
    failures: list[Figure]
    confusion: Confusion
    detection: list[Figure]
    learning: list[Learning]
    submissions: list[Submission]
    leaderboard: list[Figure]
    card: Card

    def figures(self) -> list[Figure]:
        """Returns all figures of the page."""
        surfaces = [figure for search in self.searches for figure in search.figures]
        curves = [figure for network in self.learning for figure in network.figures]
        return [*surfaces, *self.failures, *self.detection, *curves, *self.leaderboard]
