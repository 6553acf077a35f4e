"""The verb `validate`: what is wrong with a submission file."""

from pathlib import Path

from kit.competition import submission
from kit.workflows.workspace import Workspace


def validate(workspace: Workspace, file: Path, data: Path, sample: Path | None = None) -> list[submission.Problem]:
    """The problems of a submission file, held against a sample submission or the data's own."""
    if sample is not None:
        return submission.validate(file, tuple(submission.read(sample)))
    competition = workspace.open_data(data)
    return submission.validate(file, competition.sample_ids, competition.shape)
