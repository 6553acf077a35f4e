"""`kit.train`; a training by it runs in the tour (tests/docs/test_pages.py)."""

import sys

from kit.core.progress import Bar, Lines, progress


def test_a_notebook_has_bars(monkeypatch):
    assert isinstance(progress([], "x"), Lines)
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert type(progress([], "x")) is Bar
