"""The application that the verbs are registered with, and the options that all of them take."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from kit.core.errors import KitError
from kit.core.version import VERSION

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Segments pneumothorax in chest X-rays: folds, training, thresholds, submissions, kernels.",
)

Verbose = Annotated[bool, typer.Option("--verbose", help="Print more, and show where an error came from.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but results, warnings and errors.")]

PANELS = {
    "data": "Data",
    "runs": "Training and prediction",
    "reports": "Looking at runs",
    "submissions": "Submissions",
    "kernels": "Kernels on Kaggle",
}
"""What the help calls the verbs of each module."""
TYPED = {"int": "number", "float": "number", "Path": "path"}
"""What the help calls the value of an option, by its type; in capitals stands what is a variable of make, too."""
NONE: Mapping[str, Any] = MappingProxyType({})


class Verb(TyperCommand):
    """A verb whose help says what to type after an option, and nothing after a flag."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for one in self.params:
            if isinstance(one, TyperOption) and one.metavar is None:
                one.metavar = "" if one.is_flag else TYPED.get(one.bare_type(), "text")

    def get_help_option(self, ctx: Any) -> Any:
        """The flag `--help`."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option


class Call:
    """The call of the process, which messages answer."""

    by_make = False
    context: Any = None
    """Of the verb, once its options are read."""


CALL = Call()


def verb(
    group: typer.Typer,
    name: str,
    examples: Sequence[str],
    needs: Mapping[str, str] = NONE,
    excludes: Mapping[str, Sequence[str]] = NONE,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as the verb `name`, with `--verbose` and `--quiet` beside its own options.

    The name is given apart, so that a function needs not be called like the module that does its work.

    Args:
        group: The group that the verb belongs to.
        name: The verb's name.
        examples: Command lines that its help ends with.
        needs: Parameters that do something only beside another one, or beside a value of it (`to=kaggle`).
        excludes: Parameters beside which, or beside a value of which, others do nothing.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(context: typer.Context, *, verbose: bool = False, quiet: bool = False, **options: Any) -> None:
            CALL.context = context
            set_level(verbose=verbose, quiet=quiet)
            _refuse_without_effect(context, needs, excludes)
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


def _refuse_without_effect(
    context: typer.Context, needs: Mapping[str, str], excludes: Mapping[str, Sequence[str]]
) -> None:
    """Refuses what the user has given and nothing would take."""
    spelling = {
        parameter.name: parameter.opts[0]
        if parameter.param_type_name == "option"
        else parameter.metavar or parameter.opts[0].upper()
        for parameter in context.command.params
    }

    def holds(condition: str) -> bool:
        name, _, value = condition.partition("=")
        return context.params[name] == value if value else is_given(context, name)

    for name, condition in needs.items():
        other, _, value = condition.partition("=")
        if is_given(context, name) and not holds(condition):
            wanted = f"{spelling[other]} {value}".strip()
            raise KitError(f"{spelling[name]}: does nothing without {wanted}: leave it out, or give {wanted}")
    for condition, others in excludes.items():
        name, _, value = condition.partition("=")
        for other in others:
            if holds(condition) and is_given(context, other):
                given = f"{spelling[name]} {value}".strip()
                raise KitError(f"{spelling[other]}: does nothing with {given}: leave one of them out")


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given, be it at its default's value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def set_level(*, verbose: bool, quiet: bool) -> None:
    """Chooses what is logged, unless another process speaks for all (`kit.cli.process`)."""
    logger = logging.getLogger("kit")
    if (verbose or quiet) and logger.level < logging.ERROR:
        logger.setLevel(logging.DEBUG if verbose else logging.WARNING)


def print_version(*, given: bool) -> None:
    """Prints the version and ends."""
    if given:
        print(f"kit {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and end.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Takes the options that stand before the verb; without a verb prints the help."""
    set_level(verbose=verbose, quiet=quiet)
    if context.invoked_subcommand is None:
        print(context.get_help())
