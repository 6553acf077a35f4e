"""What a call of make comes to: the command lines of the kit, which is not run."""

import os
import re
import subprocess
from pathlib import Path

from kit import cli
from kit.cli import make
from kit.core.errors import KitError
from reproduce import __main__ as reproduced

MAKEFILE = Path(__file__).parents[2] / "Makefile"
APPS = {"kit": cli.app, "reproduce": reproduced.app}
"""The verbs of each program that make calls; in its place the name is printed, and what it is called with."""


def ready_folder(folder: Path) -> Path:
    """A folder where the environment looks ready, each file newer than those that it is made from."""
    (folder / ".venv/bin").mkdir(parents=True)
    for program in ("python", "ruff", "mypy", "mkdocs"):
        (folder / ".venv/bin" / program).symlink_to("/bin/true")
    for age, name in enumerate((".venv/dev", ".venv/ready", "requirements-dev.txt", "requirements.txt")):
        (folder / name).touch()
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    return folder


def call(folder: Path, *words: str, **environment: str) -> tuple[int, list[list[str]], str]:
    """Exit code, command lines of the verbs, and what is complained about; an error ends the list."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    done = subprocess.run(
        ["make", "-s", "-f", MAKEFILE, *(rf"{name.upper()}=printf '%s\n' {name}" for name in APPS), *words],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
    )
    pieces = re.split(rf"^({'|'.join(APPS)})\n", done.stdout, flags=re.MULTILINE)
    lines = []
    try:
        for name, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            option, *rest = piece.splitlines()
            lines.append(make.arguments(rest, APPS[name]) if option == make.OPTION else [option, *rest])
    except KitError as error:
        return 2, [], str(error)
    return done.returncode, [line for line in lines if line is not None], done.stderr
