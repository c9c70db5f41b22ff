"""The commands by name, each imported when it is called.

To import them all takes longer than most of them work.
"""

from __future__ import annotations

import importlib
from collections import UserDict
from dataclasses import dataclass
from typing import Any

import typer

from closeout_cli.command_line import Command, Group
from closeout_cli.options import with_global_options


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is.

    Attributes:
        place: ``module:function`` in this package; for a command that has commands of its
            own the module alone, with its ``group`` and its ``COMMANDS``.
        panel: under which heading of the help it stands.
        cls: what it is made of.
    """

    place: str
    panel: str
    cls: type[Command] = Command

    @property
    def module(self) -> str:
        """The full name of its module."""
        return f"{__package__}.{self.place.partition(':')[0]}"

    def imported(self, name: str) -> Any:
        """Import the command and return it.

        Args:
            name: how the command line calls it.
        """
        module = importlib.import_module(self.module)
        app = typer.Typer(name=name, cls=Group, rich_markup_mode=None, add_completion=False)
        function = self.place.partition(":")[2]
        if function:
            command = app.command(name, cls=self.cls, rich_help_panel=self.panel)
            command(with_global_options(getattr(module, function)))
        else:
            app.callback(rich_help_panel=self.panel)(module.group)
            for action, of_group in module.COMMANDS.items():
                app.command(action, cls=self.cls)(with_global_options(of_group))
        return typer.main.get_command(app)


class Commands(UserDict[str, Any]):
    """The commands by name; made of their entries when they are looked up."""

    def __getitem__(self, name: str) -> Any:
        """Return a command."""
        found = super().__getitem__(name)
        if isinstance(found, Entry):
            found = self.data[name] = found.imported(name)
        return found
