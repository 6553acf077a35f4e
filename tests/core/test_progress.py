"""Bars on a terminal, lines in a log, and log lines above a bar."""

import io
import logging
import sys
import time

import pytest

from kit.core import progress


def on_terminal(monkeypatch):
    """Replaces stderr by a terminal; not a fixture, since pytest replaces stderr before each test."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("KIT_JOB", raising=False)
    return stream


@pytest.fixture
def clock(monkeypatch):
    """Time that the test controls."""
    now = [1000.0]
    monkeypatch.setattr(progress.tqdm, "_time", lambda: now[0], raising=False)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.Lines, "last_line", now[0])
    return now


def go(items, clock, seconds, what="working"):
    bar = progress.progress(items, what, unit="step")
    for number in bar:
        clock[0] += seconds
        bar.note(lambda number=number: f"loss {number}")


def test_without_a_terminal_there_is_a_line_a_minute_with_note_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO, "kit")
    go(range(10), clock, 20)
    assert caplog.messages == [
        "working: 3 of 10, 2 min 20 s left, loss 2",
        "working: 6 of 10, 1 min 20 s left, loss 5",
        "working: 9 of 10, 20 s left, loss 8",
    ]


def test_in_a_log_the_first_line_of_a_program_comes_soon_and_others_after_a_minute_of_silence(
    clock, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, "kit")
    monkeypatch.setattr(progress.Lines, "last_line", clock[0] - progress.LINE + 4)
    go(range(10), clock, 3)
    assert caplog.messages == ["working: 2 of 10, loss 1"]
    go(range(20), clock, 2, what="more")
    assert len(caplog.messages) == 2
    progress.Console().emit(logging.makeLogRecord({"msg": "another line"}))
    go(range(25), clock, 2, what="still more")
    assert len(caplog.messages) == 2


def test_quick_work_logs_nothing(clock, caplog, capsys):
    caplog.set_level(logging.INFO, "kit")
    go(range(10), clock, 1)
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")


def test_a_process_that_shares_a_terminal_with_others_draws_no_bar(monkeypatch, clock, caplog):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv("KIT_JOB", "1")
    caplog.set_level(logging.INFO, "kit")
    go(range(4), clock, 30)
    assert terminal.getvalue() == ""
    assert len(caplog.messages) == 2


def test_on_a_terminal_a_bar_has_the_note_and_goes_at_the_end(monkeypatch, clock):
    terminal = on_terminal(monkeypatch)
    go(range(10), clock, 2)
    drawn = terminal.getvalue().split("\r")
    assert drawn[-4].startswith("working")
    assert drawn[-4].endswith(" 9/10, 2 s left, loss 8")
    assert drawn[-2].strip() == drawn[-1] == ""


def test_a_bar_of_80_columns_has_title_count_and_note_whole(monkeypatch, clock):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (80, 24))
    go(range(10), clock, 2, what="fold 0, 256 px, epoch 3/100")
    line = terminal.getvalue().split("\r")[-4]
    assert len(line) <= 80
    assert line.startswith("fold 0, 256 px, epoch 3/100 ")
    assert line.endswith(" 9/10, 2 s left, loss 8")


def test_a_terminal_without_a_known_width_has_the_same_bar(monkeypatch, clock):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (0, 0))
    go(range(10), clock, 2)
    assert terminal.getvalue().split("\r")[-4].endswith(" 9/10, 2 s left, loss 8")


def test_without_room_the_estimate_is_dropped_then_the_start_of_the_title(monkeypatch, clock):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (80, 24))
    bar = progress.progress(range(533), "classify-b3 fold 0 stage 1 (256 px) epoch 3/100", unit="step")
    for _ in bar:
        clock[0] += 2
        bar.note(lambda: "loss 0.4210, about 3 h 10 min of training left")
    for line in terminal.getvalue().split("\r")[5:-2]:
        assert len(line) == 80
        assert line.startswith("…")
        assert "epoch 3/100 " in line
        assert line.endswith("/533, loss 0.4210, about 3 h 10 min of training left")


def test_the_first_items_give_no_estimate(clock, caplog):
    caplog.set_level(logging.INFO, "kit")
    go(range(4), clock, 70)
    assert caplog.messages[:3] == [
        "working: 1 of 4, loss 0",
        "working: 2 of 4, loss 1",
        "working: 3 of 4, 1 min 10 s left, loss 2",
    ]


def test_a_log_line_stands_whole_above_the_bar(monkeypatch, clock):
    terminal = on_terminal(monkeypatch)
    logger = logging.getLogger("kit.tests.progress")
    logger.propagate, handler = False, progress.Console()
    logger.addHandler(handler)
    try:
        for number in progress.progress(range(6), "working"):
            clock[0] += 2
            if number == 3:
                logger.warning("a line")
    finally:
        logger.removeHandler(handler)
    assert "\ra line\n" in terminal.getvalue()


def test_a_repeated_warning_is_printed_once_and_other_lines_each_time(capsys):
    console = progress.Console()
    for level in (logging.WARNING, logging.INFO):
        for _ in range(2):
            console.emit(logging.makeLogRecord({"msg": f"level {level}", "levelno": level}))
    assert capsys.readouterr().err.splitlines() == ["level 30", "level 20", "level 20"]


def seen(text, read):
    """Waits until another thread has written a text."""
    return any(text in read() or time.sleep(0.01) for _ in range(2000))


def test_work_without_steps_shows_the_time(monkeypatch, clock, caplog):
    monkeypatch.setattr(progress, "_REFRESH", 0.01)
    caplog.set_level(logging.INFO, "kit")
    with progress.working("drawing"):
        clock[0] += 70
        assert seen("drawing, 1 min 10 s so far", lambda: caplog.text)
    terminal = on_terminal(monkeypatch)
    with progress.working("drawing"):
        for seconds in (7, 14):
            clock[0] += 7
            assert seen(f"drawing, {seconds} s so far", terminal.getvalue)
    assert terminal.getvalue().rpartition("so far")[2].split("\r")[-2].strip() == ""


def test_a_long_item_refreshes_the_bar_every_second(monkeypatch, clock):
    monkeypatch.setattr(progress, "_REFRESH", 0.01)
    terminal = on_terminal(monkeypatch)
    bar = progress.progress(["first", "second"], "exporting", 2)
    with bar.by_the_second():
        for number, _ in enumerate(bar):
            clock[0] += 9
            assert seen(f" {number}/2", terminal.getvalue)
    assert terminal.getvalue().split("\r")[-2].strip() == ""


def test_nothing_is_drawn_if_another_process_reports(monkeypatch, clock):
    terminal = on_terminal(monkeypatch)
    assert list(progress.progress(range(3), "working", show=False)) == [0, 1, 2]
    assert terminal.getvalue() == ""
