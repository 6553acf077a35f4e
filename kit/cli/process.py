"""The process around a verb: output, signals and exit codes.

The exit code is 0 for success, 2 for an error caused by user input or a file (one line on stderr), and 130 or 143 for a
verb that was interrupted or terminated. A bug in the kit ends with a traceback.
"""

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from typer.exceptions import Abort, TyperException

from kit.cli import make
from kit.cli.app import CALL, app
from kit.cli.spelling import spelled
from kit.core.distributed import JOB, lost_process
from kit.core.errors import KitError, from_system
from kit.core.progress import Console

_KINDS = {"valid integer": "a whole number", "valid number": "a number"}
"""Name of the expected type, by the phrase in typer's message."""
SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def main(program: typer.Typer = app, name: str = "kit") -> None:
    """Runs the verb of the command line and ends the process with its exit code.

    Args:
        program: The program whose verbs can be called.
        name: The program's name.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    CALL.by_make, CALL.context = False, None
    console = Console()
    console.setFormatter(_SpellingFormatter())
    logging.basicConfig(handlers=[console])
    logger = logging.getLogger("kit")
    logger.setLevel(logging.INFO)
    if os.environ.get("RANK", "0") != "0":  # under torchrun every process runs the verb, and only the first one logs
        logger.setLevel(logging.CRITICAL)
    if not _prints_results():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        with stoppable():
            code = _run(program, name, sys.argv[1:])
    except (KitError, OSError, MemoryError) as error:
        if logger.isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).debug("where it came from:", exc_info=True)
        message = str(error if isinstance(error, KitError) else from_system(error))
        print(f"kit: {spelled(message)}", file=sys.stderr)
        code = 2
    except RuntimeError as error:
        if not lost_process(error):
            raise
        print("kit: another process of this run has ended: see its message, then run the same command", file=sys.stderr)
        code = 2
    except TyperException as error:
        CALL.context = getattr(error, "ctx", None)
        if message := _usage(error, sys.argv[1:]):
            print(f"kit: {spelled(message)}", file=sys.stderr)
        code = error.exit_code
    except Abort:  # nobody answered a question
        print("kit: no answer, nothing done", file=sys.stderr)
        code = 2
    sys.exit(code)


def _run(program: typer.Typer, name: str, arguments: list[str] | None) -> int:
    """Runs a command line and returns its exit code."""
    if arguments and arguments[0] == make.OPTION:
        CALL.by_make = True
        arguments = make.arguments(arguments[1:], program)
        if arguments is None:
            return 0
    return program(arguments, prog_name=name, standalone_mode=False) or 0


def _usage(error: TyperException, arguments: Sequence[str]) -> str:
    """Describes an error in a command line in the caller's spelling; empty if the help was printed instead."""
    context: Any = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    message = " ".join(error.format_message().split())
    if CALL.by_make and type(error).__name__ == "MissingParameter":  # a class that typer does not export
        return f"make {arguments[3]}: give {make.variable(parameter)}=…"
    if context is None or not message:
        return message
    if kind := next((kind for phrase, kind in _KINDS.items() if phrase in message), ""):
        names = [*parameter.opts, make.variable(parameter)]
        matches = [
            f"{word} {value}" if word in names else word
            for word, value in zip(arguments, [*arguments[1:], ""], strict=True)
            if word.partition("=")[0] in names
        ]
        message = f"{matches[-1] if matches else names[0]}: is not {kind}"
    return message if CALL.by_make else f"{message} (see `{context.command_path} --help`)"


class _SpellingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return spelled(super().format(record))


@contextmanager
def stoppable() -> Iterator[None]:
    """Ends the block on Ctrl-C or SIGTERM with a line that says how to resume, and with the exit code of the signal.

    A signal that is ignored, as after `nohup`, stays ignored. Forked workers end too, but print nothing. An exception
    that a library raises while the signal unwinds the stack, as torch's archive writer does, is replaced.
    """
    parent = os.getpid()
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if os.getpid() == parent and _prints_results():
            # Not print, which the signal may have interrupted.
            os.write(2, f"\nkit: {SIGNALS[signal.Signals(number)]}: run the same command to resume\n".encode())
        raise SystemExit(128 + number)

    defaults = (signal.SIG_DFL, signal.default_int_handler)
    previous = {number: signal.signal(number, stop) for number in SIGNALS if signal.getsignal(number) in defaults}
    try:
        yield
    except Exception:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _prints_results() -> bool:
    """Whether this process prints results: the first one under torchrun, and none that `train --jobs` has started."""
    return os.environ.get("RANK", "0") == "0" and JOB not in os.environ
