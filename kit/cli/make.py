"""Translates a call of `make` into a command line of the kit.

The Makefile knows no options. For each goal it passes on all goals and all variables of the call:

    kit --make GOALS OTHERS VERB [NAME=VALUE …] [-- ARGS …]

A verb takes the variables that its help shows: FOLDS becomes `--folds FOLDS`, FILE becomes the argument FILE. ARGS
holds further options, of which each verb takes those that it has. Every call is checked as a whole, so that a variable
or an option that none of its verbs takes is an error before the first verb runs.
"""

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from kit.cli.app import app
from kit.core.errors import KitError, did_you_mean

log = logging.getLogger(__name__)

OPTION = "--make"
CHECKED = "checked"
"""In place of VERB: only check the call."""
SPELLINGS = {"kernel": "kernel build", "kernel-check": "kernel check", "push": "kernel push"}
"""Verbs that are one word in make."""
MAY_BE_EMPTY = ("SET", "ARGS")
FOR_ALL = ("FILE",)
"""Variables that every verb of a call must take: `make train submit FILE=x` would not submit what it trains."""


def arguments(words: Sequence[str], program: typer.Typer = app) -> list[str] | None:
    """Returns the command line of the verb that make calls, or None if the call is only to be checked.

    Args:
        words: The words after `--make`, see the head of this module.
        program: The program that VERB belongs to.

    Raises:
        KitError: a goal is unknown, no goal takes a variable or an option of ARGS, or a variable is empty.
    """
    goal_list, other_list, verb, *rest = words
    goals, call = goal_list.split(), f"make {goal_list}"
    others = {name: names.split(",") for name, names in (other.split(":") for other in other_list.split())}
    commands = commands_of(typer.main.get_command(app)) | commands_of(typer.main.get_command(program))
    for goal in goals:
        if goal not in (known := [*commands, *others]):
            raise KitError(f"there is no verb {goal}{did_you_mean(goal, known)} (`make help` lists them)")
    # The variables that each goal takes, and those of all goals by name, with ARGS at the end.
    takes = {goal: others.get(goal) or [*variables(commands[goal]), "ARGS"] for goal in goals}
    names = sorted(dict.fromkeys(name for taken in takes.values() for name in taken if name), key="ARGS".__eq__)
    end = rest.index("--") if "--" in rest else len(rest)
    given, options = dict(word.split("=", 1) for word in rest[:end]), rest[end + 1 :]
    if end < len(rest):
        given["ARGS"] = " ".join(options)
    for name, value in given.items():
        takers = [goal for goal in goals if name in takes[goal]]
        if not takers:
            near, listed = did_you_mean(name, names), " ".join(names) or "no variable"
            raise KitError(f"{call} does not take {name}{near} (it takes {listed})")
        if name in FOR_ALL and len(takers) < len(goals):
            raise KitError(
                f"{call} does not take {name}: {takers[0]} would use it in place of what the other verbs make: run "
                f"make {takers[0]} by itself"
            )
        if not value.strip() and name not in MAY_BE_EMPTY:
            raise KitError(f"{name}= is empty: give it a value, or leave it out")
    if verb in (goals[0], CHECKED):  # once per call
        for name in sorted({*names} & os.environ.keys() - given.keys()):
            log.warning("%s of the environment is ignored: give it after `%s`", name, call)
    foreign = any("ARGS" in takes[goal] for goal in goals if goal not in commands)
    parts = _distribute(call, {goal: commands[goal] for goal in goals if goal in commands}, options, foreign=foreign)
    if verb == CHECKED:
        return None
    return [*SPELLINGS.get(verb, verb).split(), *from_variables(commands[verb], given), *parts[verb]]


def variables(command: TyperCommand) -> dict[str, Any]:
    """Returns the parameter behind each variable that a verb takes."""
    return {name: parameter for parameter in command.params if (name := variable(parameter))}


def variable(parameter: Any) -> str:
    """Returns the variable of make that sets a parameter, or "" if only ARGS can."""
    name = parameter.metavar or (str(parameter.name).upper() if parameter.param_type_name == "argument" else "")
    return name if name.isupper() else ""


def options_of(command: TyperCommand) -> dict[str, Any]:
    """Returns the parameter behind each option of a verb, `--help` included, by its spelling."""
    return {
        spelling: parameter
        for parameter in command.get_params(typer.Context(command))
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }


def commands_of(program: Any) -> dict[str, TyperCommand]:
    """Returns each verb of a program by its word in make."""
    commands = dict(program.commands)
    for word, spelling in SPELLINGS.items():
        group, verb = spelling.split()
        if group in program.commands:
            commands[word] = program.commands[group].commands[verb]
    return commands


def _distribute(
    call: str, commands: Mapping[str, TyperCommand], words: Sequence[str], *, foreign: bool
) -> dict[str, list[str]]:
    """Distributes ARGS among the verbs: each gets the options that it has, and all words if it takes arguments.

    Args:
        foreign: Whether a verb that is not in `commands` takes ARGS, so that any other word may be meant for it.
    """
    options = {goal: options_of(command) for goal, command in commands.items()}
    parts: dict[str, list[str]] = {goal: [] for goal in commands}
    unread = list(words)
    while unread:
        piece = [unread.pop(0)]
        name, equals, _ = piece[0].partition("=")
        if name.startswith("-"):
            takers = [goal for goal in commands if name in options[goal]]
            parameter = options[takers[0]][name] if takers else None
            if parameter and not equals and not parameter.is_flag:
                piece += unread[: parameter.nargs]
                del unread[: parameter.nargs]
        else:
            takers = [
                goal
                for goal, command in commands.items()
                if any(parameter.param_type_name == "argument" for parameter in command.params)
            ]
        if not takers and not foreign:
            near = did_you_mean(name, [spelling for parameters in options.values() for spelling in parameters])
            raise KitError(f"{call} does not take {name}{near}")
        for goal in takers:
            parts[goal] += piece
    return parts


def from_variables(command: TyperCommand, values: Mapping[str, str]) -> list[str]:
    """Returns the command-line words for the variables that a verb takes."""
    words = []
    for name, parameter in variables(command).items():
        value = values.get(name, "")
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
