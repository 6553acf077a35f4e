"""The verb `check`: finds what is wrong with a data set before a training."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit import phantom
from kit.competition import finding, layout, mirror, scoring, shapes
from kit.competition.layout import read_optional
from kit.competition.mirror import ImageFolder
from kit.competition.row_format import RowFormat
from kit.core.errors import KitError, counted
from kit.core.files import write_csv
from kit.core.parallel import gpus
from kit.data import folds, inspection
from kit.data.inspection import Finding
from kit.workflows.workspace import Workspace

SHOWN = 20
"""Most lines to print; the table has all."""


@dataclass(frozen=True)
class Checked:
    """Result of a check: the findings, and where all of them are listed."""

    folder: Path
    about: str
    findings: list[Finding]
    """Findings, serious ones first."""
    table: Path
    advice: str
    """The next command to run."""

    @property
    def errors(self) -> int:
        """Number of serious findings."""
        return sum(item.serious for item in self.findings)

    def refuse(self) -> None:
        """Raises an error if a finding is serious."""
        if self.errors:
            advice = f"fix the errors, or leave unreadable files out with --skip-bad; {self.table} lists all"
            raise KitError(f"{self.folder}: {self.counts()}: {advice}")

    def counts(self) -> str:
        """Returns the numbers of errors and notes."""
        return f"{counted(self.errors, 'error')}, {counted(len(self.findings) - self.errors, 'note')}"

    def text(self) -> str:
        """Formats the findings for the terminal: at most twenty lines, one for all images with the same finding.

        Without errors, the last line names the next command; with errors, `refuse` ends the verb.
        """
        alike: dict[Finding, list[str]] = {}
        for item in self.findings:
            alike.setdefault(replace(item, image=""), []).append(item.image)
        lines = [self.about, *(item.line(images) for item, images in list(alike.items())[:SHOWN])]
        if len(alike) > SHOWN:
            more = sum(map(len, list(alike.values())[SHOWN:]))
            lines.append(f"… and {more} more in {self.table}")
        if not self.errors:
            lines.append(f"{self.counts()}; next: {self.advice}")
        return "\n".join(lines)


def check(
    workspace: Workspace,
    folder: Path | str,
    masks: Path | str | None = None,
    mask_suffix: str | None = None,
    rle_format: str | None = None,
    label: int | None = None,
) -> Checked:
    """Examines every file of a competition's folder, or of a folder for `kit import`.

    Args:
        workspace: Workspace for the table, `runs/NAME/check.csv`.
        masks: As in `mirror.recognise`, like the options after it; only for folders for `kit import`.

    Raises:
        KitError: the folder is neither, a label file cannot be read, or an option does not apply to a competition's
            folder.
    """
    folder = Path(folder)
    workspace.draw_demo(folder)
    table = workspace.runs / folder.resolve().name / "check.csv"
    options = {"--masks": masks, "--mask-suffix": mask_suffix, "--rle": rle_format, "--label": label}
    options = {name: value for name, value in options.items() if value is not None}
    competition = _competition(folder)
    if competition and options:
        option = next(iter(options))
        raise KitError(f"{option}: does nothing for {folder}, which is a competition's folder: leave it out")
    about, images, advice = competition or _for_import(
        mirror.recognise(folder, masks, mask_suffix, rle_format, label), options
    )
    findings = sorted(inspection.inspect(images), key=lambda item: not item.serious)
    rows = [("error" if row.serious else "note", row.image, row.what, row.next) for row in findings]
    write_csv(table, ("level", "image", "what", "next"), rows)
    return Checked(folder, about, findings, table, advice)


def _competition(folder: Path) -> tuple[str, ImageFolder, str] | None:
    """Reads a competition's folder; None if it is none, or its images are in another format."""
    kind = layout.find_layout(folder)
    train, test = layout.find_dicoms(folder, kind) if kind else ({}, {})
    if kind is None or not train:
        return None
    images = {**train, **test}
    truth = layout.read_labels(folder / kind.labels, images)
    read_optional(folder / layout.PATIENTS, lambda path: layout.read_patients(path, images.keys()), None)
    read_optional(folder / folds.SPLITS, folds.read_splits, None)
    read_optional(folder / finding.NAME, finding.read, None)
    solution = read_optional(folder / layout.SOLUTION, scoring.read_solution, scoring.Solution({}, {}))
    shape = layout.usual_shape(list(train.values()))
    sizes: dict[str, tuple[int, int]] = read_optional(folder / shapes.NAME, shapes.read, {})
    size = "several sizes" if sizes else f"{shape[0]}×{shape[1]}"
    about = f"{folder}: {kind.name}, {len(train)} training and {len(test)} test images of {size}"
    image_folder = ImageFolder(
        folder=folder,
        images=images,
        masks={},
        unpaired=(),
        labels_path=folder / kind.labels,
        labels=truth | solution.masks,
        in_test=frozenset(test),
        given_format=RowFormat(),
        given_sizes=sizes or dict.fromkeys(images, shape),
    )
    options = f"--data {shlex.quote(str(folder))}"
    if not phantom.is_drawn(folder):
        options += f" --recipe {'exp5' if gpus() else 'small'}"
    return about, image_folder, f"kit folds {options} && kit train {options}"


def _for_import(source: ImageFolder, options: Mapping[str, Any]) -> tuple[str, ImageFolder, str]:
    options = {"--out": f"data/{source.folder.resolve().name}", **options}
    text = " ".join(f"{name} {shlex.quote(str(value))}" for name, value in options.items())
    return str(source), source, f"kit import {shlex.quote(str(source.folder))} {text}"
