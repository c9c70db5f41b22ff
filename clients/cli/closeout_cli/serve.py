"""``closeout serve``: one service alone, as a supervisor of processes runs it."""

from __future__ import annotations

import enum
import os
import sys
from typing import Annotated

import typer


class Service(enum.StrEnum):
    """A service that can run alone."""

    STATUS = "status"
    SENDER = "sender"


def serve(
    *,
    service: Annotated[Service, typer.Argument(help="Which one.", show_default=False)],
    check: Annotated[
        bool,
        typer.Option("--check", help="Check its settings and exit: 0 if they are right, 2 if not."),
    ] = False,
) -> int:
    """Run one service in the foreground until a signal.

    It is for systemd, a container or another supervisor. Settings come from the
    environment and closeout.toml. Its log goes to standard error.
    """
    # -P: a folder of ours in the working folder must not be taken for a package.
    command = [sys.executable, "-P", "-m", f"{service}_service", *(["--check"] if check else [])]
    # In place of this process, so that signals and the exit code are the service's own.
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, our own arguments
