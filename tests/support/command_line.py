"""The command line, called in the process of the test."""

import sys

import pytest

from kit import cli


@pytest.fixture
def working_folder(tmp_path):
    """Where the command line is called; the tests of a file may share one."""
    return tmp_path


@pytest.fixture
def kit(working_folder, monkeypatch, capsys):
    """Runs `kit ARGUMENTS`: exit code, what it printed, and what it said on stderr."""
    monkeypatch.chdir(working_folder)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kit", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run
