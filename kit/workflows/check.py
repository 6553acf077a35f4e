"""The verb `check`: what is wrong with a data set, before a training."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kit.competition import image_files, labels, layout, mirror, scoring, shapes
from kit.competition.mirror import ImageFolder
from kit.competition.row_format import RowFormat
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, write_csv
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
        return sum(finding.serious for finding in self.findings)

    def refuse(self) -> None:
        """Ends the verb where something is serious."""
        if self.errors:
            raise KitError(f"{self.folder}: {self.errors} errors: fix them before training; {self.table} lists all")

    def text(self) -> str:
        """What a person reads: at most twenty lines of findings."""
        kinds = Counter("errors" if finding.serious else "notes" for finding in self.findings)
        lines = [self.about, *map(str, self.findings[:SHOWN])]
        if len(self.findings) > SHOWN:
            lines.append(f"… and {len(self.findings) - SHOWN} more in {self.table}")
        lines.append(f"{kinds['errors']} errors, {kinds['notes']} notes; next: {self.advice}")
        return "\n".join(lines)


def check(workspace: Workspace, folder: Path | str, label: int | None = None) -> Checked:
    """Looks at every file of a competition's folder, or of a folder that `kit import` brings in.

    Args:
        workspace: Where the table goes: `runs/NAME/check.csv`.
        label: The value of mask pictures that is foreground, where they hold several.

    Raises:
        KitError: the folder is neither, or a file of labels cannot be read.
    """
    folder = Path(folder)
    workspace.draw_demo(folder)
    table = workspace.runs / folder.resolve().name / "check.csv"
    about, found, advice = _competition(folder) or _mirror(folder, label)
    findings = sorted(inspection.inspect(found), key=lambda finding: not finding.serious)
    if any(finding.serious for finding in findings):
        advice = f"fix the errors, or leave unreadable files out with --skip-bad; {table} lists all"
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
        asked=RowFormat(),
        given_shape=sizes or shape,
    )
    return about, found, f"make folds train DATA={folder}"


def _mirror(folder: Path, label: int | None) -> tuple[str, ImageFolder, str]:
    found = mirror.recognise(folder, label=label)
    chosen = "" if label is None else f" --label {label}"
    return str(found), found, f"kit import {folder} --out data/{folder.resolve().name}{chosen}"
