"""From the command line to an exit code: a failure is one line, never a traceback."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import TYPE_CHECKING

import typer
from typer.exceptions import TyperException

from closeout.errors import ClientError
from closeout_cli import output_mode, streams
from closeout_cli.app import app
from closeout_cli.failures import FAILED, INTERRUPTED, CommandError, report

if TYPE_CHECKING:
    from collections.abc import Sequence


def execute(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        words: the arguments; by default those of the process.
    """
    given = sys.argv[1:] if words is None else list(words)
    with output_mode.of(given):
        try:
            return _finished(_run(given))
        except OSError as error:
            return _unprintable(error)


def _run(words: list[str]) -> int:
    try:
        code = app(words, prog_name="closeout", standalone_mode=False)
    except (CommandError, ClientError) as error:
        return report(error)
    except TyperException as error:
        return report(_usage(error))
    except (typer.Abort, asyncio.CancelledError, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as error:
        code = error.code
    return code if isinstance(code, int) else 0


def _finished(code: int) -> int:
    failure = streams.finish()
    return code if failure is None else _unprintable(failure)


def _unprintable(error: OSError) -> int:
    """Report that the output could not be printed; a reader who left needs no message.

    Raises:
        OSError: the error is about something else.
    """
    text = streams.trouble(error)
    if text is None:
        raise error
    if error.errno != errno.EPIPE:
        report(CommandError(text, reason="OUTPUT_FAILED"))
    streams.finish()
    return FAILED


def _usage(error: TyperException) -> CommandError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "closeout"
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = text.removeprefix("Invalid value: ").replace("Value error, ", "")
    return CommandError(
        f"{text} (see {path} --help)",
        exit_code=getattr(error, "exit_code", FAILED),
        reason="COMMAND_LINE_INVALID",
    )
