"""The last line of a verb says if a run is no better than an empty submission."""

import pytest

from kit.core.files import write_json
from kit.report import summary, surfaces
from kit.run import Run
from kit.submissions.ledger import Entry
from kit.submissions.submit import Outcome

FOUND = {
    "rule": "image",
    "binarization": 0.5,
    "removal": 0,
    "rules": ["image"],
    "dice_all_empty": 0.5,
    "dice_positives": 0.1,
    "negatives_empty": 0.7,
    "apparent_dice": 0.6,
    "masked": 0.3,
}
LEARNED_NOTHING = {"nested_dice": 0.43, "interval": [0.36, 0.49]}
UNDECIDED = {"nested_dice": 0.55, "interval": [0.45, 0.65]}
BETTER = {"nested_dice": 0.8, "interval": [0.7, 0.9]}
ONE_PATIENT = {"nested_dice": None, "interval": None}

cases = pytest.mark.parametrize(
    ("measured", "wanted"),
    [
        (LEARNED_NOTHING, "no better than an empty submission, which scores 0.5000"),
        (UNDECIDED, "not clearly better than an empty submission, which scores 0.5000"),
        (BETTER, ""),
        (ONE_PATIENT, ""),
    ],
)


@pytest.fixture
def folder(tmp_path, measured):
    write_json(tmp_path / "thresholds.json", FOUND | measured)
    return tmp_path


@cases
def test_train_ends_with_it(folder, wanted):
    first, *others = summary.outcome(Run(folder)).splitlines()
    assert first.startswith("rule image")
    assert [line[: len(wanted)] for line in others] == ([wanted] if wanted else [])


@cases
def test_report_ends_with_it(folder, wanted, monkeypatch, kit):
    monkeypatch.setattr("kit.workflows.report.report", lambda *_: folder / "report.html")
    first, *others = kit("report", "--recipe", "demo")[1].splitlines()
    assert first == str(folder / "report.html")
    assert [line[: len(wanted)] for line in others] == ([wanted] if wanted else [])


@cases
def test_submit_ends_with_it(tmp_path, measured, wanted):
    entry = Entry(
        event="scored", sha256="", destination="local/x", public=0.6, private=1.0, dice_all_empty=0.5, **measured
    )
    first, *others = str(Outcome(entry, True, tmp_path / "submission.csv")).splitlines()
    assert "public 0.6000 · private 1.0000" in first
    assert [line[: len(wanted)] for line in others] == ([wanted] if wanted else [])


def test_of_several_searches_the_best_one_counts(tmp_path):
    for name, measured in {"bad": LEARNED_NOTHING, "good": BETTER}.items():
        write_json(tmp_path / name / "thresholds.json", FOUND | measured)
    assert surfaces.verdict([tmp_path / "bad"]).startswith("no better")
    assert surfaces.verdict([tmp_path / "bad", tmp_path / "good"]) == ""
