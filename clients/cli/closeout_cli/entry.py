"""From the command line to an exit code: a failure is one line, never a traceback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer
from typer.exceptions import TyperException

from closeout.errors import ClientError
from closeout_cli.app import app
from closeout_cli.failures import FAILED, INTERRUPTED, CommandError, report, say

if TYPE_CHECKING:
    from collections.abc import Sequence


def execute(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        words: the arguments; by default those of the process.
    """
    try:
        code = app(words, prog_name="closeout", standalone_mode=False)
    except (CommandError, ClientError) as error:
        return report(error)
    except TyperException as error:
        return _usage(error)
    except (typer.Abort, asyncio.CancelledError):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "closeout"
    text = error.format_message().removesuffix(".").replace("Value error, ", "")
    say(f"{text} (see {path} --help)")
    return getattr(error, "exit_code", FAILED)
