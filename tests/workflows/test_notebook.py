"""`kit.train`; a training by it runs in the tour (tests/docs/test_pages.py)."""

import io
import sys

from kit.core.progress import Bar, Lines, progress


def test_a_notebook_has_bars(monkeypatch):
    class OutStream(io.StringIO):
        """As in a cell."""

        __module__ = "ipykernel.iostream"

    monkeypatch.setitem(sys.modules, "ipykernel", None)  # as where a test runs a notebook
    assert isinstance(progress([], "x"), Lines)
    monkeypatch.setattr(sys, "stderr", OutStream())
    assert type(progress([], "x")) is Bar
