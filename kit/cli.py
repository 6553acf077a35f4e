"""The verbs: each parses its options, calls one function and prints what it returns. No logic."""

import sys

import typer

from kit.errors import KitError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def main() -> None:
    """Runs the verb of the command line; a user's mistake is one line and exit code 2."""
    try:
        app()
    except KitError as error:
        print(f"kit: {error}", file=sys.stderr)
        sys.exit(2)
