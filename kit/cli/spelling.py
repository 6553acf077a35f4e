"""Commands and options in what is said, as the person spells them who called: make's way where make did.

A message names a command as `kit VERB …` or `make VERB` between backticks, or as `kit VERB …` behind "next: ", and an
option as `--name`. A command gets the data, recipe and overrides of the call where it takes them and says none.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from typer import Context
from typer.core import TyperCommand
from typer.exceptions import TyperException

from kit.cli import make
from kit.cli.app import CALL, is_given

_COMMAND = re.compile(r"`(?:kit|make) ([a-z][^`]*)`|(?<=next: )kit (.*)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)(?:[ ]([^\s'`]*[A-Z\d/._][^\s'`]*?|[a-z]+(?=:))(?=[,:;.)]*(?:\s|$)))?")
"""An option, with the value behind it: what is no word of a sentence, or is followed by a colon."""


def say(text: object) -> None:
    """Prints at once what a verb has to say."""
    print(spelled(str(text)), flush=True)


def spelled(text: str) -> str:
    """A message with its commands and options as the caller spells them."""
    if CALL.context is None:
        return text
    pieces, end = [], 0
    for found in _COMMAND.finditer(text):
        ticks = "`" if found[1] else ""
        command = _commands(found[1] or found[2])
        pieces += [_options(text[end : found.start()]), f"{ticks}{command}{ticks}" if command else found[0]]
        end = found.end()
    return "".join([*pieces, _options(text[end:])])


def _options(text: str) -> str:
    """A text that names options of the verb: for make each is a variable, or a part of ARGS."""
    options = {option: parameter for parameter in CALL.context.command.params for option in parameter.opts}

    def spell(found: re.Match[str]) -> str:
        parameter = options.get(found[1])
        if parameter is None:
            return found[0]
        if name := make.variable(parameter):
            return f"{name}={found[2] or ''}"
        if parameter.is_flag or not found[2]:
            return found[0].replace(found[1], f"ARGS={found[1]}")
        return f'ARGS="{found[0]}"'

    return _OPTION.sub(spell, text) if CALL.by_make else text


def _commands(text: str) -> str:
    """A command line, or several with `&&` between; empty where it is none of the kit's."""
    known = make.commands_of(CALL.context.find_root().command)
    try:
        parsed = [one for line in text.split(" && kit ") for one in _parse(shlex.split(line), known)]
    except (ValueError, TyperException):  # a quotation mark in a name, or an option that the verb does not have
        return ""
    lines = []
    for goal, given, rest in parsed:
        of_the_call = {} if "--help" in rest else _of_the_call()
        if "RECIPE" in given:
            of_the_call.pop("SET", None)
        taken = make.variables(known[goal])
        given |= {name: value for name, value in of_the_call.items() if name in taken and name not in given}
        words = [*make.from_variables(known[goal], given), *rest]
        lines.append(shlex.join(["kit", *make.SPELLINGS.get(goal, goal).split(), *words]))
    if not CALL.by_make:
        return " && ".join(lines)
    variables = {name: value for _, given, _ in parsed for name, value in given.items()}
    further = shlex.join(word for rest in dict.fromkeys(tuple(rest) for *_, rest in parsed) for word in rest)
    words = [f"{name}={_quoted(value)}" for name, value in (variables | ({"ARGS": further} if further else {})).items()]
    return " ".join(["make", *(goal for goal, *_ in parsed), *words]) if parsed else ""


def _quoted(text: str) -> str:
    """A text as a shell reads it, between double quotes where it can."""
    return shlex.quote(text) if text == shlex.quote(text) or set(text) & set('"$`\\') else f'"{text}"'


def _parse(words: list[str], known: dict[str, TyperCommand]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """The verbs of a command line, as make calls them, each with its variables and what else it is given."""
    by_words = {tuple(spelling.split()): goal for goal in known for spelling in (make.SPELLINGS.get(goal, goal), goal)}
    goals = []
    while found := next((tuple(words[:length]) for length in (2, 1) if tuple(words[:length]) in by_words), ()):
        goals.append(by_words[found])
        words = words[len(found) :]
    for goal in goals:
        context = Context(known[goal], resilient_parsing=True)
        values, _, _ = known[goal].make_parser(context).parse_args(list(words))
        variables = {id(parameter): name for name, parameter in make.variables(known[goal]).items()}
        given: dict[str, str] = {}
        rest: list[str] = []
        for parameter in known[goal].get_params(context):
            value: Any = values.get(str(parameter.name))
            if isinstance(value, list | tuple):
                value = shlex.join(value)
            if not isinstance(value, str | bool) or not value:
                continue
            if name := variables.get(id(parameter)):
                given[name] = str(value)
            else:
                rest += [parameter.opts[0], *([value] if isinstance(value, str) else [])]
        yield goal, given, rest


def _of_the_call() -> dict[str, str]:
    """Data, recipe and overrides that were given."""
    found = {}
    for name, parameter in make.variables(CALL.context.command).items():
        value = CALL.context.params.get(str(parameter.name))
        if name in ("DATA", "RECIPE", "SET") and value and is_given(CALL.context, str(parameter.name)):
            found[name] = " ".join(value) if isinstance(value, list) else str(value)
    return found
