"""A command in the manner of monitoring plugins: one line, performance data, exit code 0 to 3.

The guidelines of the Monitoring Plugins project have the format; Nagios, Icinga, Naemon,
Checkmk and Zabbix read it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.exceptions import TyperException

from closeout.errors import ClientError
from closeout_cli import output_mode, screen
from closeout_cli.command_line import Command
from closeout_cli.failures import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Status(enum.IntEnum):
    """What a plugin says; the number is the exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """One piece of performance data.

    Attributes:
        label: its name.
        value: a number of things, or of seconds.
        unit: ``s``, or nothing.
        warning: above this it is a WARNING; None: never.
        critical: above this it is CRITICAL; None: never.
    """

    label: str
    value: int
    unit: str = ""
    warning: int | None = None
    critical: int | None = None

    def __str__(self) -> str:
        limits = ";".join(
            "" if limit is None else str(limit) for limit in (self.warning, self.critical, 0)
        )
        return f"{self.label}={self.value}{self.unit};{limits}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a plugin has to say.

    Attributes:
        status: how it stands.
        text: for people, in one line.
        measured: the performance data.
        more: for JSON alone.
    """

    status: Status
    text: str
    measured: Sequence[Measured] = ()
    more: dict[str, Any] | None = None


def answer(report: Report) -> int:
    """Print a report as one line, or as one object with ``--json``; return its exit code."""
    if output_mode.as_json():
        values = {one.label: one.value for one in report.measured}
        screen.print_json(
            {
                "status": report.status.name,
                "exit_code": int(report.status),
                "message": report.text,
                "performance": values,
                **(report.more or {}),
            }
        )
        return int(report.status)
    # A bar begins the performance data, wherever it stands.
    text = " ".join(screen.printable(report.text).split()).replace("|", "/")
    data = " ".join(map(str, report.measured))
    screen.line(f"CLOSEOUT {report.status.name} - {text}" + (f" | {data}" if data else ""))
    return int(report.status)


class PluginCommand(Command):
    """A command of which every failure is UNKNOWN, a wrong command line too.

    Any other code would be taken for a state of what is checked.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line."""
        try:
            return super().make_context(*args, **kwargs)
        except (TyperException, CommandError) as error:
            text = error.format_message() if isinstance(error, TyperException) else str(error)
            raise typer.Exit(_unknown(f"{text}; see closeout {self.name} --help")) from error

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except (TyperException, CommandError, ClientError) as error:
            text = error.format_message() if isinstance(error, TyperException) else str(error)
            raise typer.Exit(_unknown(text)) from error
        except Exception as error:
            # A defect, which must not look like a WARNING.
            text = f"{type(error).__name__}: {error}; please report it"
            raise typer.Exit(_unknown(text)) from error


def _unknown(text: str) -> int:
    return answer(Report(Status.UNKNOWN, text.removeprefix("Invalid value: ")))
