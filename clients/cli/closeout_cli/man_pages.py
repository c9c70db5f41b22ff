"""``closeout man``: the help of each command as a manual page."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closeout_cli import screen
from closeout_cli.failures import FAILED, MEANINGS, OK, CommandError
from closeout_cli.help_pages import Row, Section, page_of
from closeout_cli.options import Json  # noqa: TC001 - typer reads the annotations
from closeout_cli.words import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from closeout_cli.help_pages import Page

_EXIT_STATUS = "Exit codes"


def man(
    *,
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="The folder for the pages, which is made if it does not exist, as in"
            " ~/.local/share/man/man1.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> int:
    """Write a manual page for each command.

    Afterwards `man closeout` and `man closeout-send` show them, if the folder is one that
    man searches.
    """
    pages = manual(context.find_root())
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}", exit_code=FAILED) from error
    if as_json:
        screen.print_json({"folder": str(output), "pages": list(pages)})
    else:
        screen.line(f"{output}: {number(len(pages), 'manual page')}")
    return OK


def manual(root: Any) -> dict[str, str]:
    """Return the text of each manual page by its file name.

    Args:
        root: the context of the group of all commands.
    """
    pages = list(_pages(root))
    names = [page.path.replace(" ", "-") for page in pages]
    return {
        f"{name}.1": "\n".join(_lines(page, [other for other in names if other != name])) + "\n"
        for name, page in zip(names, pages, strict=True)
    }


def _pages(context: Any) -> Iterator[Page]:
    """Yield the page of a command, then those of its own commands."""
    command = context.command
    yield page_of(command, context)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _pages(type(context)(inner, info_name=name, parent=context))


def _lines(page: Page, others: list[str]) -> Iterator[str]:
    name = page.path.replace(" ", "-")
    version = importlib.metadata.version("closeout-server")
    yield f'.TH "{_text(name.upper())}" "1" "" "closeout {version}" "Closeout"'
    yield from (".SH NAME", f"{_text(name)} \\- {_text(page.summary)}")
    yield from (".SH SYNOPSIS", f".B {_text(page.path)}", _text(page.usage))
    yield ".SH DESCRIPTION"
    for paragraph in page.paragraphs:
        yield from (".PP", _text(paragraph))
    for section in _sections(page):
        yield f".SH {_text(section.heading.upper())}"
        for row in section.rows:
            yield from (".TP", f".B {_text(row.term.strip())}", _text(row.text))
    yield ".SH SEE ALSO"
    yield ", ".join(f"\\fB{_text(other)}\\fR(1)" for other in others)


def _sections(page: Page) -> Iterator[Section]:
    yield from (section for section in page.sections if section.heading != _EXIT_STATUS)
    codes = (Row(str(code), meaning) for code, meaning in MEANINGS.items())
    yield Section("Exit status", tuple(codes))


def _text(text: str) -> str:
    """Return a text in which nothing is an instruction of the formatter."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
