"""The verb `validate`: finds what is wrong with a submission file."""

from pathlib import Path

from kit.competition import layout, submission
from kit.competition.layout import Competition
from kit.competition.submission import Problem


def validate(file: Path | str, against: Competition | Path | str | None = None) -> list[Problem]:
    """Returns the problems of a submission file; none for a valid one.

    Args:
        against: An opened data set or its folder, or a sample submission, whose images the file must contain; if None,
            only the format is checked, for images of 1024×1024.

    Raises:
        KitError: a file cannot be read, or the folder is not a competition's.
    """
    if against is None:
        return submission.validate(file)
    if isinstance(against, Path | str) and not Path(against).is_dir():
        return submission.validate(file, tuple(submission.read(against)))
    competition = against if isinstance(against, Competition) else layout.open_folder(against, allow_missing=True)
    return submission.validate(file, competition.sample_ids, competition.shapes)
