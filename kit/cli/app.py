"""The application that the verbs are registered with, and the options that all of them take."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kit.core.version import VERSION

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Segments pneumothorax in chest X-rays: folds, training, thresholds, submissions, kernels.",
)

Verbose = Annotated[bool, typer.Option("--verbose", help="Say more, and show where an error came from.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but results, warnings and errors.")]


def verb(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as the verb `name`, with `--verbose` and `--quiet` beside its own options.

    The name is given apart, so that a function needs not be called like the module that does its work.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(verbose: bool = False, quiet: bool = False, **options: Any) -> None:
            set_level(verbose, quiet)
            function(**options)

        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for option, kind in (("verbose", Verbose), ("quiet", Quiet))
        ]
        signature = inspect.signature(function)
        run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *common])  # type: ignore[attr-defined]
        run.__annotations__ = function.__annotations__ | {"verbose": Verbose, "quiet": Quiet}
        group.command(name)(run)
        return function

    return register


def set_level(verbose: bool, quiet: bool) -> None:
    """Chooses what is logged, unless another process speaks for all (`kit.cli.process`)."""
    logger = logging.getLogger("kit")
    if (verbose or quiet) and logger.level < logging.ERROR:
        logger.setLevel(logging.DEBUG if verbose else logging.WARNING)


def print_version(given: bool) -> None:
    """Prints the version and ends."""
    if given:
        print(f"kit {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and end.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Takes the options that stand before the verb; without a verb prints the help."""
    set_level(verbose, quiet)
    if context.invoked_subcommand is None:
        print(context.get_help())
