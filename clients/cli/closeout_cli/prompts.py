"""Questions before what can't be taken back; only people at a terminal are asked."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from closeout_cli import output_mode, screen
from closeout_cli.failures import CommandError

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; without a terminal nobody is asked.")]


def may_ask() -> bool:
    """Return whether a person can read a question and answer it; never with ``--json``."""
    return not output_mode.as_json() and sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Ask on standard error, and go on only with a yes.

    Raises:
        CommandError: the answer is no.
    """
    sys.stderr.write(f"{screen.printable(question)} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer not in {"y", "yes"}:
        raise CommandError("nothing was changed; --yes does it without this question")
