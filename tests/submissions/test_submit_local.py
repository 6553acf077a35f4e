from dataclasses import replace

import pytest
from lungs import OOF

from kit.core.errors import KitError
from kit.core.files import locked
from kit.submissions import ledger
from kit.submissions.submit import submit_local


def events(path):
    return [event.event for event in ledger.read(path)]


def test_a_submission_is_recorded_and_scored(csv, competition, tmp_path):
    outcome = submit_local(csv, competition, tmp_path / "l.jsonl", OOF)
    assert outcome.fresh
    assert (outcome.entry.public, outcome.entry.private) == (1.0, 0.75)
    assert (outcome.entry.run, outcome.entry.apparent_dice, outcome.entry.nested_dice) == ("lungs/exp5", 0.8, 0.79)
    assert "public 1.0000 · private 0.7500" in str(outcome)
    assert events(tmp_path / "l.jsonl") == ["built", "validated", "submitted", "scored"]


def test_the_same_file_is_submitted_again_only_on_demand(csv, competition, tmp_path):
    book = tmp_path / "l.jsonl"
    submit_local(csv, competition, book, OOF)
    second = submit_local(csv, competition, book, OOF)
    assert not second.fresh
    assert (second.entry.public, second.entry.private) == (1.0, 0.75)
    assert "nothing to do" in str(second)
    assert len(events(book)) == 4
    twin = csv.with_name("twin.csv")
    twin.write_bytes(csv.read_bytes())
    assert str(submit_local(twin, competition, book, OOF)).startswith(
        f"{twin}: has the content of {csv}: nothing to do"
    )
    assert submit_local(csv, competition, book, OOF, again=True).fresh
    assert submit_local(csv, competition, book, OOF, ask=lambda question: True).fresh
    assert events(book).count("scored") == 3


def test_a_second_submission_at_the_same_time_is_refused(csv, competition, tmp_path):
    book, kept = tmp_path / "l.jsonl", []
    with locked(book), pytest.raises(KitError, match="another submission is under way"):
        submit_local(csv, competition, book, OOF)

    def keep(path):
        csv.write_text("changed")
        with pytest.raises(KitError, match="another submission is under way"):
            submit_local(csv, competition, book, OOF)
        kept.append(path.read_text())

    sent = csv.read_text()
    submit_local(csv, competition, book, OOF, keep=keep)
    assert kept == [sent]


def test_another_data_set_is_another_destination(csv, competition, tmp_path):
    book = tmp_path / "l.jsonl"
    submit_local(csv, competition, book, OOF)
    other = replace(competition, name="other")
    outcome = submit_local(csv.rename(csv.with_name("twin.csv")), other, book, OOF | {"recipe": "exp4"})
    assert outcome.fresh
    assert [(entry.run, entry.destination) for entry in ledger.entries(book)] == [
        ("lungs/exp5", "local/lungs"),
        ("other/exp4", "local/other"),
    ]


def test_without_a_solution_the_file_is_left_ready(csv, competition, tmp_path):
    outcome = submit_local(csv, replace(competition, solution_path=None), tmp_path / "l.jsonl", OOF)
    assert not outcome.entry.submitted
    assert "nothing to score against" not in str(outcome)
    assert "no solution.csv to score against; the file is ready" in str(outcome)
    assert events(tmp_path / "l.jsonl") == ["built", "validated"]
    submit_local(csv, replace(competition, solution_path=None), tmp_path / "l.jsonl", OOF)
    assert events(tmp_path / "l.jsonl") == ["built", "validated"]


def test_after_a_kill_before_scoring_the_next_call_scores(csv, competition, tmp_path):
    book = tmp_path / "l.jsonl"
    submit_local(csv, competition, book, OOF)
    whole = events(book)
    book.write_text("".join(book.read_text().splitlines(keepends=True)[:-1]))
    again = submit_local(csv, competition, book, OOF)
    assert again.fresh
    assert again.entry.public is not None
    assert events(book) == whole


def test_an_invalid_file_is_refused_with_all_its_problems(csv, competition, tmp_path):
    csv.write_text("ImageId,EncodedPixels\na,0 99\nx,-1\nc,1\n")
    with pytest.raises(KitError) as caught:
        submit_local(csv, competition, tmp_path / "l.jsonl", OOF)
    text = str(caught.value)
    assert all(image in text for image in ("a", "b", "c", "x"))
    assert len(text.splitlines()) >= 5
    assert not (tmp_path / "l.jsonl").exists()


def test_the_table_shows_every_score(csv, competition, tmp_path):
    book = tmp_path / "l.jsonl"
    assert "nothing was submitted yet" in ledger.table(book)
    submit_local(csv, competition, book, OOF)
    head, row = ledger.table(book).splitlines()
    columns = "run file to nested 95 % all empty positives apparent public private state"
    assert head.split() == columns.split()
    assert row.split()[:4] == ["lungs/exp5", str(csv), "local/lungs", "0.7900"]
    assert row.split()[-3:] == ["1.0000", "0.7500", "submitted"]
