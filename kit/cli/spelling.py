"""Rewrites commands and options in messages as the caller types them: `kit VERB --option` or `make VERB NAME=`.

A message names a command as `kit VERB …` or `make VERB …` in backticks or as `kit VERB …` after "next: ", and an
option as `--name`. Commands also get the data, recipe and overrides of the current call if they take these and name
none.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperCommand

from kit.cli import make
from kit.cli.app import CALL, is_given

_NAMED = re.compile(
    r"(?P<tick>`)(?:kit|make) (?P<command>[a-z][^`]*)`|(?<=next: )kit (?P<next>.*)$"
    # An option, with its value if the next word cannot be a word of the sentence or is followed by a colon.
    r"|(?<![\w-])(?P<option>--[a-z][a-z-]*)"
    r"(?:[ ](?P<value>[^\s'`]*[A-Z\d/._][^\s'`]*?|[a-z-]+(?=:))(?=[,:;.)]*(?:\s|$)))?",
    re.MULTILINE,
)


def say(text: object) -> None:
    """Prints the output of a verb at once."""
    print(spelled(str(text)), flush=True)


def spelled(text: str) -> str:
    """Returns a message with its commands and options as the caller types them."""
    return text if CALL.context is None else _NAMED.sub(_respell, text)


def _respell(match: re.Match[str]) -> str:
    if match["option"]:
        return _option(match[0], match["option"], match["value"] or "")
    tick = match["tick"] or ""
    command = _command(match["command"] or match["next"])
    return f"{tick}{command}{tick}" if command else match[0]


def _option(text: str, option: str, value: str) -> str:
    """Rewrites an option of the running verb as a variable of make, or as a part of ARGS."""
    parameter = make.options_of(CALL.context.command).get(option)
    if not CALL.by_make or parameter is None:
        return text
    if name := make.variable(parameter):
        return f"{name}={value}"
    return f'ARGS="{text}"' if value and not parameter.is_flag else f"ARGS={text}"


def _command(text: str) -> str:
    """Rewrites a command line, or several joined by `&&`; empty if it is no command of the kit."""
    verbs = make.commands_of(CALL.context.find_root().command)
    try:
        calls = [call for line in text.split(" && kit ") for call in _parse(shlex.split(line), verbs)]
    except (ValueError, LookupError):  # an unbalanced quotation mark, or an option that the verb does not have
        return ""
    if not CALL.by_make:
        lines = [
            ["kit", *make.SPELLINGS.get(goal, goal).split(), *make.from_variables(verbs[goal], variables), *options]
            for goal, variables, options in calls
        ]
        return " && ".join(map(shlex.join, lines))
    values = {name: value for _, variables, _ in calls for name, value in variables.items()}
    if options := [word for options in dict.fromkeys(tuple(call[2]) for call in calls) for word in options]:
        values["ARGS"] = shlex.join(options)
    words = [*(goal for goal, *_ in calls), *(f"{name}={_quoted(value)}" for name, value in values.items())]
    return " ".join(["make", *words]) if calls else ""


def _quoted(text: str) -> str:
    """Quotes a text for a shell, in double quotes if possible."""
    return shlex.quote(text) if text == shlex.quote(text) or set(text) & set('"$`\\') else f'"{text}"'


def _parse(words: Sequence[str], verbs: dict[str, TyperCommand]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Parses a command line of one or more verbs: for each make's word for it, its variables and its other options."""
    goals = []
    by_words = {tuple(spelling.split()): goal for goal in verbs for spelling in (goal, make.SPELLINGS.get(goal, goal))}
    while match := next((key for key in (tuple(words[:2]), tuple(words[:1])) if key in by_words), None):
        goals.append(by_words[match])
        words = words[len(match) :]
    for goal in goals:
        variables, options = _split(words, verbs[goal])
        inherited = {} if "--help" in options else _of_call(verbs[goal])
        if "RECIPE" in variables:
            inherited.pop("SET", None)
        yield goal, inherited | variables, options


def _split(words: Sequence[str], verb: TyperCommand) -> tuple[dict[str, str], list[str]]:
    """Splits the words after a verb into variables of make and other options."""
    parameters, given, rest = make.options_of(verb), dict[str, list[str]](), list[str]()
    argument = next((parameter for parameter in verb.params if parameter.param_type_name == "argument"), None)
    unread = iter(words)
    for word in unread:
        parameter: Any = parameters[word] if word.startswith("-") else argument
        values: list[Any] = [word] if parameter is argument else [] if parameter.is_flag else [next(unread, None)]
        if parameter is None or None in values:
            raise LookupError(word)
        if name := make.variable(parameter):
            given.setdefault(name, []).extend(values)
        else:
            rest += [word, *values]
    return {name: values[0] if len(values) == 1 else shlex.join(values) for name, values in given.items()}, rest


def _of_call(verb: TyperCommand) -> dict[str, str]:
    """Returns the data, recipe and overrides of the current call, as far as the verb takes them."""
    values = {}
    for name, parameter in make.variables(CALL.context.command).items():
        value = CALL.context.params.get(parameter.name)
        shared = name in ("DATA", "RECIPE", "SET") and name in make.variables(verb)
        if shared and value and is_given(CALL.context, parameter.name):
            values[name] = " ".join(value) if isinstance(value, list) else str(value)
    return values
