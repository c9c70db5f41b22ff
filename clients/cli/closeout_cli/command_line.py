"""The classes of commands: their help pages, and global options in either place."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from closeout_cli.help_pages import page_of, rendered

if TYPE_CHECKING:
    from closeout_cli.help_pages import Page

#: Help is no wider than this: longer lines are hard to read.
_MAX_WIDTH = 100
_MIN_WIDTH = 40


def help_width() -> int:
    """Return how many columns a help page may have on this terminal."""
    return max(min(shutil.get_terminal_size().columns, _MAX_WIDTH), _MIN_WIDTH)


class Command(TyperCommand):
    """A command whose help is one of our pages."""

    def page(self, context: Any) -> Page:
        """Return the help of the command."""
        return page_of(self, context)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, in the width of the terminal."""
        formatter.write(rendered(self.page(ctx), help_width()))

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option ``--help`` with our text."""
        return _described(super().get_help_option(ctx))


class Group(TyperGroup):
    """All commands, whose help is one of our pages."""

    def page(self, context: Any) -> Page:
        """Return the help of the group."""
        return page_of(self, context)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, in the width of the terminal."""
        formatter.write(rendered(self.page(ctx), help_width()))

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option ``--help`` with our text."""
        return _described(super().get_help_option(ctx))


def _described(option: Any) -> Any:
    if option is not None:
        option.help = "Show this help."
    return option
