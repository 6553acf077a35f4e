"""The process around a verb: what is said where, signals, and exit codes.

0 for success, 2 for an error caused by user input or a file (one line on stderr), 130 and 143 for a verb that was
interrupted or terminated, and a traceback for a bug of ours.
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
from kit.core.errors import KitError, of_system
from kit.core.progress import Console

_KINDS = {"valid integer": "a whole number", "valid number": "a number"}
"""What a value has to be, by what typer says of one that is not."""
RESUME = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def main(verbs: typer.Typer = app, name: str = "kit") -> None:
    """Runs the verb of the command line and ends the process with its exit code.

    Args:
        verbs: The verbs to choose from.
        name: What the program is called.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    CALL.by_make, CALL.context = False, None
    console = Console()
    console.setFormatter(_Spelled())
    logging.basicConfig(handlers=[console])
    logger = logging.getLogger("kit")
    logger.setLevel(logging.INFO)
    if os.environ.get("RANK", "0") != "0":  # under torchrun every process runs the verb; the first speaks for all
        logger.setLevel(logging.CRITICAL)
    if not _speaks():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        with stoppable():
            code = _run(verbs, name, sys.argv[1:])
    except (KitError, OSError, MemoryError) as error:
        if logger.isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).debug("where it came from:", exc_info=True)
        told = error if isinstance(error, KitError) else of_system(error)
        print(f"kit: {spelled(str(told))}", file=sys.stderr)
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
    except Abort:  # a question that nobody answered
        print("kit: no answer, nothing done", file=sys.stderr)
        code = 2
    sys.exit(code)


def _run(verbs: typer.Typer, name: str, arguments: list[str]) -> int:
    """Exit code of a command line: 0 from a verb that ended well."""
    if arguments[:1] == [make.OPTION]:
        CALL.by_make = True
        translated = make.arguments(arguments[1:], verbs)
        if translated is None:
            return 0
        arguments = translated
    return verbs(arguments, prog_name=name, standalone_mode=False) or 0


def _usage(error: TyperException, arguments: Sequence[str]) -> str:
    """What is wrong with a command line, as it was typed; empty where the help was printed instead."""
    context: Any = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    message = " ".join(error.format_message().split())
    if CALL.by_make and type(error).__name__ == "MissingParameter":  # a class that typer does not export
        return f"make {arguments[3]}: give {make.variable(parameter)}=…"
    if context is None or not message:
        return message
    if kind := next((kind for sign, kind in _KINDS.items() if sign in message), ""):
        typed = [*parameter.opts, make.variable(parameter)]
        given = [
            f"{word} {value}" if word in typed else word
            for word, value in zip(arguments, [*arguments[1:], ""], strict=True)
            if word.partition("=")[0] in typed
        ]
        message = f"{given[-1] if given else typed[0]}: is not {kind}"
    return message if CALL.by_make else f"{message} (see `{context.command_path} --help`)"


class _Spelled(logging.Formatter):
    """Lines of the log, with commands and options as the caller spells them."""

    def format(self, record: logging.LogRecord) -> str:
        return spelled(super().format(record))


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block with a line that says how to resume, and with the exit code of the signal.

    A signal that is ignored, as after `nohup`, stays so. Forked workers end as well, and leave the word to the
    process that made them. What a library raises on its way out, as torch's archive writer does, hides no signal.
    """
    mine = os.getpid()
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        if os.getpid() == mine and _speaks():
            # Not print: the signal may have come amid one.
            os.write(2, f"\nkit: {RESUME[signal.Signals(number)]}: run the same command to resume\n".encode())
        raise SystemExit(128 + number)

    ours = [number for number in RESUME if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    before = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    except Exception:
        if stopped:
            raise SystemExit(128 + stopped[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _speaks() -> bool:
    """Whether this process gives results, and the last word; a part of a work leaves both to the one that shares it."""
    return os.environ.get("RANK", "0") == "0" and JOB not in os.environ
