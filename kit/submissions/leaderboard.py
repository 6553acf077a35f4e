"""The local leaderboard: scores a submission against the truth of its test set, as Kaggle's hosts do."""

from pathlib import Path

from kit.competition import layout, scoring, submission


def score(path: Path | str, competition: layout.Competition) -> scoring.Scores | None:
    """Public and private Dice of a valid submission; None where the competition has no solution.csv.

    Raises:
        KitError: the submission or the solution cannot be read.
    """
    if competition.solution_path is None:
        return None
    solution = scoring.read_solution(competition.solution_path, public_share=competition.public_share)
    return scoring.score(submission.read(path), solution, competition.shapes)
