"""Translates calls of make, and commands of pages, into command lines of the kit, without running the kit."""

import functools
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
"""The programs that make calls, by name; a stub records the name and the arguments of each call."""
PROGRAMS = ("make", "kit", "python", "torchrun", "pip", "docker", "tensorboard", "xargs", "seq", "sbatch", "srun")
BLOCK = re.compile(r"^```(?P<kind>\S*)\n(?P<content>.*?)^```$", re.DOTALL | re.MULTILINE)
ENVIRONMENT = ("python", "torchrun", "tensorboard", "pip")
"""Programs that are also in .venv/bin."""


def ready_folder(folder: Path) -> Path:
    """Makes a folder where the environment looks ready: each file is newer than the files that it is made from."""
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
    """Returns the exit code, the command lines of the verbs (none after an error), and the error messages."""
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


def blocks(page, kind):
    """Returns the fenced blocks of a kind; for `bash` also the indented blocks that begin with a command."""
    text = page.read_text()
    found = [match["content"] for match in BLOCK.finditer(text) if match["kind"] == kind]
    if kind == "bash":
        plain = BLOCK.sub("", text)
        indented = re.findall(r"(?:^    .*\n)+", plain, re.MULTILINE)
        starts = ("make ", "python -m kit", "torchrun ", "kit ", ".venv/bin/")
        found += [block for block in indented if block.strip().startswith(starts)]
    return found


@functools.cache
def called(script, folder):
    """Returns the program calls of a shell script, each as a tuple of words."""
    stubs, log = folder / "stubs", folder / "calls"
    if not stubs.exists():
        stubs.mkdir()
        for name in PROGRAMS:
            stub = stubs / name
            stub.write_text(
                f'#!/bin/sh\n{{ printf "{name}\\n"; for word; do printf "%s\\n" "$word"; done; echo; }} >> "{log}"\n'
            )
            stub.chmod(0o755)
        virtual = folder / ".venv/bin"
        virtual.mkdir(parents=True)
        for name in ENVIRONMENT:
            (virtual / name).symlink_to(stubs / name)
    log.write_text("")
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env={"PATH": f"{stubs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return [tuple(call.split("\n")) for call in log.read_text().split("\n\n") if call]


@functools.cache
def kit_calls(command, folder):
    """Returns the command lines of the kit that a program call leads to."""
    program, *words = command
    if program == "make":
        code, lines, errors = call(folder / "made", *words)
        assert (code, errors) == (0, ""), f"{words}: {errors}"
        return lines
    if program == "kit":
        return [words]
    if "-m" in words and words[words.index("-m") + 1] == "kit":
        return [words[words.index("-m") + 2 :]]
    if program == "docker" and words[0] == "run":
        image = next(place for place, word in enumerate(words) if word.startswith("kit"))
        return [words[image + 1 :]]
    return []
