"""Tables of a data set: the paper's Table 2 (images and masks) and Table 1 (sex × view × finding)."""

from pathlib import Path

import pandas as pd

from kit.competition import dicom, labels
from kit.competition.finding import Finding
from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.core.parallel import map_in_order
from kit.core.progress import progress

_SEXES = {"F": "Female", "M": "Male"}


def overview(competition: Competition) -> pd.Series:
    """Counts images by kind of label (paper Table 2)."""
    strata = pd.Series([labels.stratum(rows) for rows in competition.labels.values()], dtype=str)
    counts = strata.value_counts()
    return pd.Series(
        {
            "Number of training samples": len(competition.train),
            "Number of test samples": len(competition.test),
            "Number of positive cases in training set": int((strata != "negative").sum()),
            "Number of negative cases in training set": int(counts.get("negative", 0)),
            "Number of cases has single mask in training set": int(counts.get("single", 0)),
            "Number of cases has multiple masks in training set": int(counts.get("multiple", 0)),
            "Number of masks in training set": sum(map(len, competition.labels.values())),
            "Number of images without a label row, left out": len(competition.unlabelled),
        },
        name=competition.name,
    )


def metadata(competition: Competition) -> pd.DataFrame:
    """Reads sex and view position from each DICOM header; skips files without a readable header, with a warning.

    Returns:
        Columns set (Training, Test), Gender (Female, Male), View Position, positive (None for test images).
    """
    rows: list[tuple[str, Path, bool | None]] = [
        ("Training", path, bool(competition.labels[image_id])) for image_id, path in competition.train.items()
    ]
    rows += [("Test", path, None) for path in competition.test.values()]

    def read(row: tuple[str, Path, bool | None]) -> tuple | KitError:
        name, path, positive = row
        try:
            header = dicom.read_metadata(path)
        except KitError as error:
            return error
        view = header.view_position.upper() if header.view_position else "unknown"
        return name, _SEXES.get(header.sex or "", "unknown"), view, positive

    headers = list(progress(map_in_order(read, rows), "reading headers", len(rows)))
    dicom.report_bad([header for header in headers if isinstance(header, KitError)], skip_bad=True)
    readable = [header for header in headers if not isinstance(header, KitError)]
    table = pd.DataFrame(readable, columns=["set", "Gender", "View Position", "positive"])
    return table.astype({"positive": "boolean"})


def breakdown(table: pd.DataFrame, finding: Finding) -> pd.DataFrame:
    """Counts images by sex and by view position, with and without finding, with shares in brackets (paper Table 1)."""
    lines = []
    for name, images in table.groupby("set", sort=False):
        for attribute in ("Gender", "View Position"):
            for value, part in images.groupby(attribute):
                positive = part.positive.sum()
                labelled = part.positive.notna().any()
                lines.append(
                    {
                        "Dataset": name,
                        "Attribute": attribute,
                        "Value": value,
                        finding.title: _share(positive, len(part)) if labelled else "-",
                        "Healthy": _share(len(part) - positive, len(part)) if labelled else "-",
                        "Total": _share(len(part), len(images)),
                    }
                )
    return pd.DataFrame(lines)


def tables(competition: Competition) -> str:
    """Formats both tables as text."""
    by_header = breakdown(metadata(competition), competition.finding)
    return f"{overview(competition).to_string()}\n\n{by_header.to_string(index=False)}"


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})"
