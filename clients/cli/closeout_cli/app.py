"""The command ``closeout``: its global options and its commands."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any

import typer

from closeout_cli import failures, output_mode, screen
from closeout_cli.command_line import Group
from closeout_cli.command_table import Commands, Entry
from closeout_cli.options import JSON_HELP, SENDER_HELP, STATUS_HELP, Defaults
from closeout_cli.plugin import PluginCommand

_START = "Run and send"
_LOOK = "Look"
_CHANGE = "Change and repair"
_HELP = "Help"

#: All commands, in the order of the help.
COMMANDS = {
    "up": Entry("up:up", _START),
    "down": Entry("down:down", _START),
    "serve": Entry("serve:serve", _START),
    "doctor": Entry("doctor:doctor", _START),
    "send": Entry("send:send", _START),
    "resend": Entry("resend:resend", _START),
    "demo": Entry("demo.play:demo", _START),
    "list": Entry("campaigns:list_campaigns", _LOOK),
    "status": Entry("campaign_status:status", _LOOK),
    "watch": Entry("watch:watch", _LOOK),
    "results": Entry("results:results", _LOOK),
    "explain": Entry("audit:explain", _LOOK),
    "transitions": Entry("audit:transitions", _LOOK),
    "health": Entry("health:health", _LOOK),
    "pause": Entry("control:pause", _CHANGE),
    "resume": Entry("control:resume", _CHANGE),
    "cancel": Entry("control:cancel", _CHANGE),
    "mark-complete": Entry("control:mark_complete", _CHANGE),
    "fix": Entry("fix:fix", _CHANGE),
    "delete": Entry("removing:delete", _CHANGE),
    "erase": Entry("removing:erase", _CHANGE),
    "migrate": Entry("migrate:migrate", _CHANGE),
    "man": Entry("man_pages:man", _HELP),
    "check": Entry("check:check", _LOOK, PluginCommand),
    "keys": Entry("keys", _CHANGE),
    "events": Entry("events", _LOOK),
}


class _Closeout(Group):
    """All commands; each is imported when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands(COMMANDS)


app = typer.Typer(
    name="closeout",
    cls=_Closeout,
    help="Send campaigns, and always know when they are done.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:  # noqa: FBT001 - called so by typer
    if requested:
        version = importlib.metadata.version("closeout-server")
        if output_mode.as_json():
            screen.print_json({"version": version})
        else:
            screen.line(f"closeout {version}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def closeout(
    *,
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    status_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help=STATUS_HELP, show_default=False)
    ] = "",
    sender_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help=SENDER_HELP, show_default=False)
    ] = "",
) -> None:
    """Send campaigns, and always know when they are done."""
    context.obj = Defaults(status_address, sender_address, as_json=as_json)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
        raise typer.Exit(failures.USAGE)
