import errno
import logging
import os

import pytest

from kit.core.errors import KitError
from kit.core.logs import LogFile


@pytest.fixture
def logger(tmp_path):
    handler, logger = LogFile(tmp_path / "run" / "log.txt"), logging.getLogger("kit.tests.logs")
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_lines_are_logged_with_their_time_even_with_undecodable_names(logger, tmp_path):
    # Not by the logger: pytest keeps its lines, and workers cannot send this one.
    logger.handlers[0].handle(logging.makeLogRecord({"msg": "a\udcff"}))
    assert (tmp_path / "run" / "log.txt").read_text().endswith(" a\\udcff\n")


def test_a_full_disk_raises_at_the_line_that_it_refuses(logger, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(logger.handlers[0].stream, "write", fail, raising=False)
    with pytest.raises(KitError, match=r"log\.txt: cannot be written: the disk is full"):
        logger.warning("a")


def test_a_path_that_is_not_a_file_is_refused(tmp_path):
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(KitError, match=r"log\.txt: is not a file"):
        LogFile(tmp_path / "log.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match=r"log\.txt: cannot be written"):
        LogFile(tmp_path / "file" / "log.txt")
