"""The application that verbs are registered with, and the options that every verb takes."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from kit.core.errors import KitError
from kit.core.version import VERSION

Verbose = Annotated[bool, typer.Option("--verbose", help="Print more, and show where an error came from.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but results, warnings and errors.")]

PANELS = {
    "data": "Data",
    "runs": "Training and prediction",
    "reports": "Looking at runs",
    "submissions": "Submissions",
    "kernels": "Kernels on Kaggle",
}
"""Heading in the help for the verbs of each module."""
PLACEHOLDERS = {"int": "number", "float": "number", "Path": "path"}
"""Placeholder in the help for the value of an option, by type; a placeholder in capitals is a variable of make, too."""


class Placeholders:
    """Mixin of verbs and groups: their help has a placeholder after options that take a value, and none after flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Returns the parameters, `--help` included."""
        parameters = super().get_params(ctx)  # type: ignore[misc]  # of the command
        for parameter in parameters:
            if isinstance(parameter, TyperOption) and parameter.metavar is None:
                parameter.metavar = "" if parameter.is_flag else PLACEHOLDERS.get(parameter.bare_type(), "text")
        return parameters


class Verb(Placeholders, TyperCommand):
    """A verb."""


class Group(Placeholders, TyperGroup):
    """A group of verbs."""


app = typer.Typer(
    cls=Group,
    pretty_exceptions_enable=False,
    help="Segments pneumothorax in chest X-rays: folds, training, thresholds, submissions, kernels.",
)


class Call:
    """How the kit was called, which decides how messages spell commands and options."""

    by_make = False
    context: Any = None
    """Context of the verb, once its options are parsed."""


CALL = Call()


def verb(
    group: typer.Typer,
    name: str,
    examples: Sequence[str],
    needs: Mapping[str, str] = MappingProxyType({}),
    excludes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as the verb `name`, with the additional options `--verbose` and `--quiet`.

    Args:
        group: The group that the verb belongs to.
        name: The verb's name; the function has another one where a module is named after the verb.
        examples: Command lines at the end of the verb's help.
        needs: Mapping from a parameter to what it has no effect without: another parameter, or a value (`to=kaggle`).
        excludes: Mapping from a parameter, or a value, to the parameters that have no effect with it.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(context: typer.Context, *, verbose: bool = False, quiet: bool = False, **options: Any) -> None:
            CALL.context = context
            set_level(verbose=verbose, quiet=quiet)
            _refuse_ineffective(context, needs, excludes)
            function(**options)

        def keyword(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
            return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

        common = {"verbose": Verbose, "quiet": Quiet}
        signature = inspect.signature(function)
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[
                keyword("context", typer.Context),
                *signature.parameters.values(),
                *(keyword(option, kind, default=False) for option, kind in common.items()),
            ]
        )
        run.__annotations__ = function.__annotations__ | common | {"context": typer.Context}
        panel = PANELS.get(function.__module__.rpartition(".")[2])
        group.command(name, cls=Verb, epilog="\n\n".join(["Examples:", *examples]), rich_help_panel=panel)(run)
        return function

    return register


def _refuse_ineffective(
    context: typer.Context, needs: Mapping[str, str], excludes: Mapping[str, Sequence[str]]
) -> None:
    """Raises a KitError if an option was given that would have no effect."""
    parameters = {parameter.name: parameter for parameter in context.command.params}

    def spelled(condition: str) -> str:
        name, _, value = condition.partition("=")
        parameter: Any = parameters[name]
        if parameter.param_type_name == "argument":
            return parameter.metavar or name.upper()
        return f"{parameter.opts[0]} {value}".strip()

    def holds(condition: str) -> bool:
        name, _, value = condition.partition("=")
        return context.params[name] == value if value else is_given(context, name)

    for name, condition in needs.items():
        if is_given(context, name) and not holds(condition):
            missing = spelled(condition)
            raise KitError(f"{spelled(name)}: does nothing without {missing}: leave it out, or give {missing}")
    for condition, names in excludes.items():
        for name in names:
            if holds(condition) and is_given(context, name):
                raise KitError(f"{spelled(name)}: does nothing with {spelled(condition)}: leave one of them out")


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line, even with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def set_level(*, verbose: bool, quiet: bool) -> None:
    """Sets the log level, unless another process does the logging (`kit.cli.process`)."""
    logger = logging.getLogger("kit")
    if (verbose or quiet) and logger.level < logging.ERROR:
        logger.setLevel(logging.DEBUG if verbose else logging.WARNING)


def print_version(*, given: bool) -> None:
    """Prints the version and exits."""
    if given:
        print(f"kit {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Handles the options before the verb; prints the help if there is no verb."""
    set_level(verbose=verbose, quiet=quiet)
    if context.invoked_subcommand is None:
        print(context.get_help())
