"""What a call of make comes to: the command lines of the kit, which is not run."""

import os
import subprocess
from pathlib import Path

from kit import cli
from kit.cli import make
from kit.core.errors import KitError
from reproduce import __main__ as reproduced

MAKEFILE = Path(__file__).parents[2] / "Makefile"
APPS = {"kit": cli.app, "reproduce": reproduced.app}
"""The verbs of each program that make calls; a stand-in writes down its name and what it is called with."""


def ready_folder(folder: Path) -> Path:
    """A folder where the environment looks ready, each file newer than those that it is made from."""
    (folder / ".venv/bin").mkdir(parents=True)
    for program in ("python", "ruff", "mypy", "mkdocs"):
        (folder / ".venv/bin" / program).symlink_to("/bin/true")
    (folder / "call").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" '' >> calls\n")
    (folder / "call").chmod(0o755)
    for age, name in enumerate((".venv/dev", ".venv/ready", "requirements-dev.txt", "requirements.txt")):
        (folder / name).touch()
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    return folder


def call(folder: Path, *words: str, **environment: str) -> tuple[int, list[list[str]], str]:
    """Exit code, command lines of the verbs, and what is complained about; an error ends the list."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    log = folder / "calls"
    log.write_text("")
    done = subprocess.run(
        ["make", "-s", "-f", MAKEFILE, *(f"{name.upper()}=./call {name}" for name in APPS), *words],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
    )
    lines = []
    try:
        for block in filter(None, log.read_text().split("\n\n")):
            name, option, *rest = block.split("\n")
            lines.append(make.arguments(rest, APPS[name]) if option == make.OPTION else [option, *rest])
    except KitError as error:
        return 2, [], str(error)
    return done.returncode, [line for line in lines if line is not None], done.stderr
