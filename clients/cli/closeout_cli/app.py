"""The command ``closeout``: its global options and its commands."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from closeout_cli import (
    audit,
    campaign_status,
    campaigns,
    check,
    control,
    doctor,
    down,
    events,
    failures,
    fix,
    health,
    keys,
    man_pages,
    migrate,
    output_mode,
    removing,
    resend,
    results,
    screen,
    send,
    serve,
    up,
    watch,
)
from closeout_cli.command_line import Command, Group
from closeout_cli.demo import play
from closeout_cli.options import (
    JSON_HELP,
    SENDER_HELP,
    STATUS_HELP,
    Defaults,
    with_global_options,
)
from closeout_cli.plugin import PluginCommand

app = typer.Typer(
    name="closeout",
    cls=Group,
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


_keys = typer.Typer(cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)
_keys.callback()(keys.group)
for action, of_keys in keys.COMMANDS.items():
    _keys.command(action, cls=Command)(with_global_options(of_keys))

_events = typer.Typer(cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)
_events.callback()(events.group)
for action, of_events in events.COMMANDS.items():
    _events.command(action, cls=Command)(with_global_options(of_events))

_START = "Run and send"
_LOOK = "Look"
_CHANGE = "Change and repair"
_HELP = "Help"

for name, command, panel in (
    ("up", up.up, _START),
    ("down", down.down, _START),
    ("serve", serve.serve, _START),
    ("doctor", doctor.doctor, _START),
    ("send", send.send, _START),
    ("resend", resend.resend, _START),
    ("demo", play.demo, _START),
    ("list", campaigns.list_campaigns, _LOOK),
    ("status", campaign_status.status, _LOOK),
    ("watch", watch.watch, _LOOK),
    ("results", results.results, _LOOK),
    ("explain", audit.explain, _LOOK),
    ("transitions", audit.transitions, _LOOK),
    ("health", health.health, _LOOK),
    ("pause", control.pause, _CHANGE),
    ("resume", control.resume, _CHANGE),
    ("cancel", control.cancel, _CHANGE),
    ("mark-complete", control.mark_complete, _CHANGE),
    ("fix", fix.fix, _CHANGE),
    ("delete", removing.delete, _CHANGE),
    ("erase", removing.erase, _CHANGE),
    ("migrate", migrate.migrate, _CHANGE),
    ("man", man_pages.man, _HELP),
):
    app.command(name, cls=Command, rich_help_panel=panel)(with_global_options(command))

app.command("check", cls=PluginCommand, rich_help_panel=_LOOK)(with_global_options(check.check))
app.add_typer(_keys, name="keys", rich_help_panel=_CHANGE)
app.add_typer(_events, name="events", rich_help_panel=_LOOK)
