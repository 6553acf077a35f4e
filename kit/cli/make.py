"""What `make` is asked for, as a command line of the kit.

The Makefile knows no option: for each of its goals it hands on all goals and all variables that it was given, as

    kit --make GOALS OTHERS VERB [NAME=VALUE …] [-- ARGS …]

A verb takes the variables that its help shows: FOLDS goes to `--folds FOLDS`, FILE to the argument FILE. ARGS hold any
further options, of which each verb takes those that it has. Every call is checked as a whole, so that what none of its
verbs takes is an error before the first one runs.
"""

import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kit.cli.app import app
from kit.core.errors import KitError, did_you_mean

log = logging.getLogger(__name__)

OPTION = "--make"
CHECKED = "checked"
"""In the place of VERB: the call is checked and nothing is run."""
SPELLINGS = {"kernel": "kernel build", "kernel-check": "kernel check", "push": "kernel push"}
"""Verbs that make spells in one word."""


def arguments(words: Sequence[str], verbs: typer.Typer = app) -> list[str] | None:
    """The command line of a verb that make calls; None where the call is only checked.

    Args:
        words: What follows `--make`, see the head of this module.
        verbs: Those that VERB is one of.

    Raises:
        KitError: a goal is unknown, no goal takes a variable or an option of ARGS, or a variable is empty.
    """
    asked, listed, verb, *rest = words
    goals, call = asked.split(), f"make {asked}"
    others = {name: names.split(",") for name, names in (other.split(":") for other in listed.split())}
    commands = commands_of(typer.main.get_command(app)) | commands_of(typer.main.get_command(verbs))
    for goal in goals:
        if goal not in (known := [*commands, *others]):
            raise KitError(f"there is no verb {goal}{did_you_mean(goal, known)} (`make help` lists them)")
    taken = [name for goal in goals for name in others.get(goal) or [*variables(commands[goal]), "ARGS"]]
    end = rest.index("--") if "--" in rest else len(rest)
    given, further = dict(word.split("=", 1) for word in rest[:end]), rest[end + 1 :]
    if end < len(rest):
        given["ARGS"] = " ".join(further)
    may_be_empty = {"ARGS"} | {
        name for one in commands.values() for name, parameter in variables(one).items() if parameter.multiple
    }
    taken = sorted(dict.fromkeys(filter(None, taken)), key="ARGS".__eq__)  # ARGS last
    for name, value in given.items():
        if name not in taken:
            near, takes = did_you_mean(name, taken), " ".join(taken) or "no variable"
            raise KitError(f"{call} does not take {name}{near} (it takes {takes})")
        if not value.strip() and name not in may_be_empty:
            raise KitError(f"{name}= is empty: give it a value, or leave it out")
    if "FILE" in given and not {"submit", "validate"}.issuperset(goals):
        raise KitError(f"{call} does not take FILE: it would submit that file, not what it trains: submit it by itself")
    if verb in (goals[0], CHECKED):  # once a call
        for name in sorted({*taken} & os.environ.keys() - given.keys()):
            log.warning("%s of the environment is ignored: give it after `%s`", name, call)
    elsewhere = any("ARGS" in others.get(goal, ()) for goal in goals)
    options = _distribute(
        call, {goal: commands[goal] for goal in goals if goal in commands}, further, elsewhere=elsewhere
    )
    if verb == CHECKED:
        return None
    return [*SPELLINGS.get(verb, verb).split(), *from_variables(commands[verb], given), *options[verb]]


def variables(command: TyperCommand) -> dict[str, Any]:
    """The parameter of each variable that a verb takes, by what its help calls it in capitals."""
    named = {variable(parameter): parameter for parameter in command.params}
    return {name: one for name, one in named.items() if name}


def variable(parameter: Any) -> str:
    """The variable of make that gives a parameter; empty where ARGS do."""
    name = parameter.metavar or (str(parameter.name).upper() if parameter.param_type_name == "argument" else "")
    return name if name.isupper() else ""


def commands_of(root: Any) -> dict[str, TyperCommand]:
    """Each verb of a program by the word that make has for it."""
    words = {spelling: word for word, spelling in SPELLINGS.items()}

    def walk(group: Any, before: str = "") -> Iterator[tuple[str, TyperCommand]]:
        for name, command in group.commands.items():
            spelling = f"{before}{name}"
            if isinstance(command, TyperGroup):
                yield from walk(command, f"{spelling} ")
            else:
                yield words.get(spelling, spelling), command

    return dict(walk(root))


def _distribute(
    call: str, commands: Mapping[str, TyperCommand], words: Sequence[str], *, elsewhere: bool
) -> dict[str, list[str]]:
    """ARGS of each verb: of options those that it has, and other words where it takes arguments.

    Args:
        elsewhere: Whether a verb that is not the kit's takes ARGS, too: then any word may be meant for it.
    """
    having: dict[str, dict[str, Any]] = {
        goal: {
            spelling: parameter
            for parameter in command.get_params(typer.Context(command))
            for spelling in (*parameter.opts, *parameter.secondary_opts)
        }
        for goal, command in commands.items()
    }
    found: dict[str, list[str]] = {goal: [] for goal in commands}
    unread = list(words)
    while unread:
        piece = [unread.pop(0)]
        name, equals, _ = piece[0].partition("=")
        if name.startswith("-"):
            takers = [goal for goal, parameters in having.items() if name in parameters]
            parameter = having[takers[0]][name] if takers else None
            if parameter and not equals and not parameter.is_flag:
                piece += unread[: parameter.nargs]
                del unread[: parameter.nargs]
        else:
            takers = [
                goal for goal in commands if any(one.param_type_name == "argument" for one in commands[goal].params)
            ]
        if not takers and not elsewhere:
            near = did_you_mean(name, [spelling for parameters in having.values() for spelling in parameters])
            raise KitError(f"{call} does not take {name}{near}")
        for goal in takers:
            found[goal] += piece
    return found


def from_variables(command: TyperCommand, given: Mapping[str, str]) -> list[str]:
    """The words of a command line that hold what a verb takes of the variables."""
    words = []
    for name, parameter in variables(command).items():
        value = given.get(name, "")
        if not value:
            continue
        if parameter.param_type_name == "option":
            words += [parameter.opts[0], value]
        elif parameter.nargs == 1:
            words.append(value)
        else:
            try:
                words += shlex.split(value)
            except ValueError as error:
                raise KitError(f"{name}={value}: is not a list of words: {error}") from None
    return words
