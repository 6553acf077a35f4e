"""report.json: every number of a run's page, typed; the page is rendered from it."""

from typing import Literal

from pydantic import Field

from kit.core.documents import Document
from kit.report.figures import Figure

Interval = tuple[float, float] | None
"""Bounds of a 95 % bootstrap interval over patients; None of a single patient."""


class Measure(Document):
    """A figure of the headline, its name and what it means."""

    name: str
    value: float | None
    note: str
    kind: Literal["score", "share"] = "score"


class Search(Document):
    """What the search found for one rule, with or without TTA."""

    rule: str
    tta: bool
    thresholds: str
    nested_dice: float | None
    interval: Interval
    """95 % interval of the nested Dice."""
    dice_all_empty: float
    dice_positives: float | None
    negatives_empty: float | None
    apparent_dice: float
    used: bool
    """Whether the run predicts with it."""
    figures: list[Figure] = Field(default_factory=list)
    """Drawings of it, where it was searched on the maps that the run predicts with."""


class Part(Document):
    """Dice of a part of the images, each counted once."""

    group: str
    part: str
    images: int
    positives: int
    dice: float
    interval: Interval
    dice_positives: float | None
    negatives_empty: float | None


class Confusion(Document):
    """Images by truth and by mask, wherever it lies; shares are None of no images."""

    found: int
    missed: int
    false_positives: int
    kept_empty: int
    sensitivity: float | None
    specificity: float | None
    positive_predictive_value: float | None
    negative_predictive_value: float | None


class TrainedStage(Document):
    """A stage of a fold."""

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
    """How one network learned: that of the run, or a member of an ensemble by its name."""

    member: str
    stages: list[TrainedStage]
    figures: list[Figure]


class Submission(Document):
    """A scored submission of the data set."""

    run: str
    destination: str
    nested: float | None
    apparent: float | None
    public: float | None
    private: float | None
    time: str
    used: bool
    """Whether it is this run's."""


class Case(Document):
    """An image; see `kit.report.cases`."""

    image_id: str
    patient_id: str
    fold: int
    stratum: str
    sex: str
    age: int | None
    view: str
    image_cm2: float | None
    """Size of the whole image, where its header has the size of a pixel."""
    truth_area: int
    mask_area: int
    dice: float
    hd95: float | None
    """See `kit.report.cases.hausdorff95`, in pixels of a 1024×1024 image; None where truth or mask is empty."""
    image_probability: float
    outcome: str


class Card(Document):
    """What the model is for, and what it was made of."""

    intended: str
    not_for: str
    licence: str
    overview: dict[str, int]
    """Numbers of images by what their labels say."""
    breakdown: list[dict[str, str]]
    """Sex and view by finding."""
    recipe: str
    """Resolved, as YAML."""
    software: dict[str, str]
    machine: dict[str, str]
    hashes: dict[str, str]


class Report(Document):
    """A run's page."""

    schema_version: Literal[1] = 1
    run: str
    """NAME/RECIPE."""
    extra: list[str]
    """Names of the extra data sets that were trained on."""
    about: str
    measures: list[Measure]
    verdict: str
    """What the scores do not show, in a sentence; empty where they show that the run is good for something."""
    reason: str
    """Which rule is in use, and why."""
    cases: list[Case]
    smallest_contour: int
    """Contours of no more pixels of a 1024×1024 image are dropped or filled; 0: none."""
    searches: list[Search]
    parts: list[Part]
    finding: str
    """What positives show."""
    failures: list[Figure]
    confusion: Confusion
    detection: list[Figure]
    learning: list[Learning]
    submissions: list[Submission]
    leaderboard: list[Figure]
    card: Card

    def figures(self) -> list[Figure]:
        """All drawings of the page."""
        of_rules = [figure for search in self.searches for figure in search.figures]
        curves = [figure for network in self.learning for figure in network.figures]
        return [*of_rules, *self.failures, *self.detection, *curves, *self.leaderboard]
