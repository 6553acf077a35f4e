import json
import multiprocessing
from pathlib import Path

import pytest

from kit.core.errors import KitError
from kit.submissions import ledger

A, B = "a" * 64, "b" * 64
ROOT = Path(__file__).parents[2]


def test_events_are_whole_lines_in_their_order(tmp_path):
    path = tmp_path / "new" / "ledger.jsonl"
    ledger.append(path, "built", A, file="x.csv", nested_dice=0.5)
    ledger.append(path, "validated", A, destination="local/demo")
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["built", "validated"]
    assert json.loads(lines[0]).items() >= {"sha256": A, "file": "x.csv", "nested_dice": 0.5}.items()
    assert [event.model_dump(exclude_unset=True) for event in ledger.read(path)] == [json.loads(line) for line in lines]


@pytest.mark.parametrize("torn", ['{"eve', "x", '{"event": "built"', "{}"])
def test_reader_and_writer_drop_a_torn_last_line(tmp_path, torn):
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, "built", A)
    with open(path, "a") as handle:
        handle.write(torn)
    assert [event.sha256 for event in ledger.read(path)] == [A]
    ledger.append(path, "built", B)
    assert [event.sha256 for event in ledger.read(path)] == [A, B]
    assert len(path.read_text().splitlines()) == 2


def test_a_last_line_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, "built", A)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    ledger.append(path, "built", B)
    assert [event.sha256 for event in ledger.read(path)] == [A, B]


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, "built", A)
    with open(path, "a") as handle:
        handle.write("gibberish\n")
    ledger.append(path, "built", B)
    with pytest.raises(KitError, match=r"ledger\.jsonl:2: "):
        ledger.read(path)


def test_an_entry_combines_the_events_of_a_file_at_a_destination(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, "built", A, file="a.csv", run="demo/exp5", apparent_dice=0.8, nested_dice=0.7)
    ledger.append(path, "built", B, file="b.csv", run="demo/x5")
    ledger.append(path, "validated", A, destination="local/demo")
    ledger.append(path, "validated", A, destination="kaggle/siim", description="d")
    assert not ledger.find(path, A, "local/demo").submitted
    ledger.append(path, "submitted", A, destination="local/demo")
    ledger.append(path, "scored", A, destination="local/demo", public=0.1, private=0.2)
    local, kaggle, waiting = ledger.entries(path)
    assert (local.run, local.apparent_dice, local.nested_dice) == ("demo/exp5", 0.8, 0.7)
    assert (local.submitted, local.public, local.private) == (True, 0.1, 0.2)
    assert (kaggle.submitted, kaggle.public, kaggle.description) == (False, None, "d")
    assert (waiting.sha256, waiting.destination, waiting.file) == (B, None, "b.csv")
    assert ledger.find(path, B, "local/demo") is None


def test_a_second_submission_of_a_file_is_an_entry_of_its_own(tmp_path):
    path, to = tmp_path / "ledger.jsonl", {"destination": "kaggle/siim"}
    ledger.append(path, "built", A, file="a.csv")
    ledger.append(path, "validated", A, **to, description="#1")
    ledger.append(path, "submitted", A, **to, ref=7)
    ledger.append(path, "validated", A, **to, description="#2")
    assert ledger.find(path, A, "kaggle/siim").unknown == "begun"
    ledger.append(path, "submitted", A, **to, ref=9)
    ledger.append(path, "scored", A, **to, ref=7, public=0.5)
    ledger.append(path, "scored", A, **to, ref=9, public=None, error="broken")
    first, second = ledger.entries(path)
    assert (first.ref, first.public, first.error, first.unknown) == (7, 0.5, "", None)
    assert (second.ref, second.public, second.error, second.file) == (9, None, "broken", "a.csv")


def test_kernel_versions_with_equal_output_are_separate_submissions(tmp_path):
    path, to = tmp_path / "ledger.jsonl", {"destination": "kaggle/siim"}
    ledger.append(path, "built", A, file="a.csv", run="siim/exp5")
    for version, score in (("ada/k/1", 0.5), ("ada/k/2", 0.6)):
        ledger.append(path, "validated", A, **to, kernel=version, description="#1")
        ledger.append(path, "submitted", A, **to, kernel=version, ref=int(version[-1]))
        ledger.append(path, "scored", A, **to, kernel=version, ref=int(version[-1]), public=score)
    assert [(entry.kernel, entry.public, entry.run) for entry in ledger.entries(path)] == [
        ("ada/k/1", 0.5, "siim/exp5"),
        ("ada/k/2", 0.6, "siim/exp5"),
    ]
    assert ledger.find(path, "ada/k/2", "kaggle/siim").ref == 2
    assert ledger.find(path, A, "kaggle/siim") is None


def test_a_refusal_ends_an_upload_of_unknown_outcome(tmp_path):
    path, to = tmp_path / "ledger.jsonl", {"destination": "kaggle/siim"}
    ledger.append(path, "validated", A, **to, description="#1")
    ledger.append(path, "refused", A, **to)
    entry = ledger.find(path, A, "kaggle/siim")
    assert (entry.submitted, entry.unknown) == (False, None)


def test_a_line_of_an_earlier_version_keeps_its_scores(tmp_path):
    """`apparent_dice` was called `dice`."""
    path = tmp_path / "ledger.jsonl"
    path.write_text(f'{{"event": "built", "sha256": "{A}", "file": "a.csv", "dice": 0.8, "nested_dice": 0.7}}\n')
    [entry] = ledger.entries(path)
    assert (entry.apparent_dice, entry.nested_dice, entry.interval) == (0.8, 0.7, None)


def _append_many(path, digest):
    for number in range(50):
        ledger.append(path, "built", digest, file=str(number))


def test_processes_that_append_at_once_lose_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, digest)) for digest in (A, B)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = ledger.read(path)
    for digest in (A, B):
        assert [event.file for event in events if event.sha256 == digest] == list(map(str, range(50)))
