"""The smallest competition: three images of 8×8 pixels. As a script, submits to it on Kaggle once."""

import sys
from pathlib import Path

from kit.competition.layout import Competition

OOF = {"recipe": "exp5", "nested_dice": 0.79, "apparent_dice": 0.8}


def competition(folder: Path) -> Competition:
    """Test images `a` (public), `b` and `c` (private)."""
    folder.mkdir(exist_ok=True)
    solution = folder / "solution.csv"
    solution.write_text("ImageId,EncodedPixels,Usage\na,0 8,Public\nb,-1,Private\nc,8 8,Private\n")
    return Competition(
        folder=folder,
        name="lungs",
        train={},
        test={},
        unlabelled=(),
        labels={},
        labels_path=folder / "train-rle.csv",
        patients=None,
        sample_path=None,
        sample_ids=("a", "b", "c"),
        solution_path=solution,
        shape=(8, 8),
    )


def submission(folder: Path) -> Path:
    """A valid submission: Dice 1 on `a`, 1 on `b`, 0.5 on `c`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "submission.csv"
    path.write_text("ImageId,EncodedPixels\na,0 8\nb,-1\nc,12 8\n")
    return path


def main(here: Path) -> None:
    from kit.kaggle import acting
    from kit.kaggle.client import connect
    from kit.submissions import kaggle, ledger

    kaggle.POLL = acting.PAUSE = 0.01
    acting.CATCH_UP = 0.1
    book = here / "ledger.jsonl"
    csv = submission(here)
    outcome = kaggle.submit_kaggle(csv, competition(here / "lungs"), book, OOF, connect(), "siim", yes=True)
    assert outcome.entry == ledger.entries(book)[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
