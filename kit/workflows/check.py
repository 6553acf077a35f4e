"""The verb `check`: what is wrong with a data set, before a training."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit import phantom
from kit.competition import finding, image_files, labels, layout, mirror, scoring, shapes
from kit.competition.mirror import ImageFolder
from kit.competition.row_format import RowFormat
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, write_csv
from kit.core.parallel import gpus
from kit.data import folds, inspection
from kit.data.inspection import Finding
from kit.workflows.workspace import Workspace

SHOWN = 20
"""Lines that are printed; the file has all."""


@dataclass(frozen=True)
class Checked:
    """What was looked at, what is wrong with it, and where to read all of it."""

    folder: Path
    about: str
    findings: list[Finding]
    """Serious ones first."""
    table: Path
    advice: str
    """The command that is next."""

    @property
    def errors(self) -> int:
        """Number of serious findings."""
        return sum(one.serious for one in self.findings)

    def refuse(self) -> None:
        """Ends the verb where something is serious."""
        if self.errors:
            advice = f"fix the errors, or leave unreadable files out with --skip-bad; {self.table} lists all"
            raise KitError(f"{self.folder}: {self.counts()}: {advice}")

    def counts(self) -> str:
        """How many errors and notes there are."""
        return f"{self.errors} errors, {len(self.findings) - self.errors} notes"

    def text(self) -> str:
        """What a person reads: at most twenty lines of findings, one for all images of which the same is to be said.

        The last one has the command that is next, unless there are errors, which `refuse` ends with.
        """
        alike: dict[Finding, list[str]] = {}
        for one in self.findings:
            alike.setdefault(replace(one, image=""), []).append(one.image)
        lines = [self.about, *(one.line(images) for one, images in list(alike.items())[:SHOWN])]
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
    """Looks at every file of a competition's folder, or of a folder that `kit import` brings in.

    Args:
        workspace: Where the table goes: `runs/NAME/check.csv`.
        masks: This and what follows as `mirror.recognise` takes it; for folders that `kit import` brings in.

    Raises:
        KitError: the folder is neither, a file of labels cannot be read, or an option does nothing for a competition's
            folder.
    """
    folder = Path(folder)
    workspace.draw_demo(folder)
    table = workspace.runs / folder.resolve().name / "check.csv"
    options = {"--masks": masks, "--mask-suffix": mask_suffix, "--rle": rle_format, "--label": label}
    given = {name: value for name, value in options.items() if value is not None}
    competition = _competition(folder)
    if competition and given:
        raise KitError(f"{next(iter(given))}: does nothing for {folder}, which is a competition's folder: leave it out")
    about, found, advice = competition or _mirror(
        mirror.recognise(folder, masks, mask_suffix, rle_format, label), given
    )
    findings = sorted(inspection.inspect(found), key=lambda one: not one.serious)
    rows = [("error" if row.serious else "note", row.image, row.what, row.next) for row in findings]
    write_csv(table, ("level", "image", "what", "next"), rows)
    return Checked(folder, about, findings, table, advice)


def _competition(folder: Path) -> tuple[str, ImageFolder, str] | None:
    """A competition's folder; None where it is none, or its images are in another format."""
    known = next((known for known in layout.LAYOUTS if is_file_or_raise(folder / known.labels)), None)
    train, test = layout.find_dicoms(folder, known) if known else ({}, {})
    if known is None or not train:
        return None
    images, rows = {**train, **test}, labels.read(folder / known.labels)
    meant = image_files.match(rows, images, folder / known.labels)
    rows = {meant[given]: texts for given, texts in rows.items()}
    if is_file_or_raise(folder / "patients.csv"):
        layout.read_patients(folder / "patients.csv", images.keys())
    if is_file_or_raise(folder / folds.SPLITS):
        folds.read_splits(folder / folds.SPLITS)
    if is_file_or_raise(folder / finding.NAME):
        finding.read(folder / finding.NAME)
    truth = {**rows}
    if is_file_or_raise(folder / "solution.csv"):
        truth |= scoring.read_solution(folder / "solution.csv").masks
    shape = layout.usual_shape(list(train.values()))
    sizes = shapes.read(folder / shapes.NAME) if is_file_or_raise(folder / shapes.NAME) else {}
    size = "several sizes" if sizes else f"{shape[0]}×{shape[1]}"
    about = f"{folder}: {known.name}, {len(train)} training and {len(test)} test images of {size}"
    found = ImageFolder(
        folder=folder,
        images=images,
        masks={},
        unpaired=(),
        labels_path=folder / known.labels,
        labels=truth,
        in_test=frozenset(test),
        given_format=RowFormat(),
        given_shape=sizes or shape,
    )
    told = f"--data {shlex.quote(str(folder))}"
    if not phantom.is_drawn(folder):
        told += f" --recipe {'exp5' if gpus() else 'small'}"
    return about, found, f"kit folds {told} && kit train {told}"


def _mirror(found: ImageFolder, given: Mapping[str, Any]) -> tuple[str, ImageFolder, str]:
    options = {"--out": f"data/{found.folder.resolve().name}", **given}
    told = " ".join(f"{name} {shlex.quote(str(value))}" for name, value in options.items())
    return str(found), found, f"kit import {shlex.quote(str(found.folder))} {told}"
