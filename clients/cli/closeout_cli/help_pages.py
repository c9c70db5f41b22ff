"""Help as data: one page for each command, which a terminal and a manual page print.

The help of the library for command lines is not used: it breaks paragraphs at the ends
of source lines, and squeezes choices into narrow cells.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from closeout_cli.failures import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Options that every command takes; they come last.
GLOBAL_OPTIONS = frozenset({"--json", "--status-address", "--sender-address", "--help"})
#: The columns of the first cell of a row: longer ones have a line of their own.
_MAX_TERM = 26
_INDENT = 2
_EVERY = "Options of every command, before or after its name"


@dataclass(frozen=True, slots=True)
class Row:
    """An option, an argument or a command, and what it means."""

    term: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Rows below a heading."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The help of one command.

    Attributes:
        path: the words that call it, as in ``closeout list``.
        usage: what may follow them.
        paragraphs: what it does; the first one is its summary.
        sections: arguments, options, commands, exit codes.
    """

    path: str
    usage: str
    paragraphs: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def summary(self) -> str:
        """The first sentence."""
        return first_sentence(self.paragraphs[0]) if self.paragraphs else ""


def page_of(command: Any, context: Any) -> Page:
    """Return the page of a command.

    Args:
        command: the command, or the group of all.
        context: its context.
    """
    arguments: list[Row] = []
    own: list[Row] = []
    common: list[Row] = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False):
            continue
        if parameter.param_type_name == "argument":
            arguments.append(Row(_name(parameter), _text(parameter)))
        else:
            rows = own if GLOBAL_OPTIONS.isdisjoint(parameter.opts) else common
            rows.append(Row(_term(parameter), _text(parameter)))
    common.sort(key=lambda row: row.term)
    group = hasattr(command, "commands")
    sections = [
        Section("Arguments", tuple(arguments)),
        *(_command_sections(command) if group else ()),
        Section("Options", tuple(own)),
        Section(_EVERY if group else "Options of every command", tuple(common)),
    ]
    if group:
        codes = (Row(f"{code:>3}", meaning) for code, meaning in MEANINGS.items())
        sections.append(Section("Exit codes", tuple(codes)))
    return Page(
        context.command_path,
        _usage(command, context, group=group),
        tuple(paragraphs(command.help or "")),
        tuple(section for section in sections if section.rows),
    )


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, each on one line."""
    return [
        " ".join(paragraph.split())
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text))
        if paragraph.strip()
    ]


def first_sentence(text: str) -> str:
    """Return the first sentence of a paragraph, without its full stop."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


def _usage(command: Any, context: Any, *, group: bool) -> str:
    words = []
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            name = _name(parameter) + ("..." if parameter.nargs != 1 else "")
            words.append(name if parameter.required else f"[{name}]")
        elif parameter.required:
            words.append(_term(parameter))
    return " ".join([*words, "[OPTIONS]", *(["COMMAND ..."] if group else [])])


def _command_sections(group: Any) -> Iterator[Section]:
    panels: dict[str, list[Row]] = {}
    for name, command in group.commands.items():
        if not command.hidden:
            text = paragraphs(command.help or "")
            row = Row(name, first_sentence(text[0]) if text else "")
            panels.setdefault(command.rich_help_panel or "Commands", []).append(row)
    for heading, rows in panels.items():
        yield Section(heading, tuple(rows))


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper().replace("_", "-"))


def _term(option: Any) -> str:
    names = sorted(option.opts, key=len)
    text = ", ".join([*names, *option.secondary_opts])
    if option.is_flag or option.count:
        return text
    kind = option.type_descriptor
    default = "NUMBER" if kind.annotation in (int, float) or kind.is_ranged else "TEXT"
    if kind.is_choice:
        default = option.name.upper().replace("_", "-")
    elif kind.is_path:
        default = "PATH"
    return f"{text} {option.metavar or default}"


def _text(parameter: Any) -> str:
    sentences = [" ".join((parameter.help or "").split())]
    kind = getattr(parameter, "type_descriptor", None)
    if kind is not None and kind.is_choice:
        choices = ", ".join(str(getattr(choice, "value", choice)) for choice in kind.choices)
        sentences.append(f"One of: {choices}.")
    default = parameter.default
    shown = getattr(parameter, "show_default", False) and not getattr(parameter, "is_flag", False)
    if shown and default not in (None, "", [], ()) and not callable(default):
        sentences.append(f"Default: {getattr(default, 'value', default)}.")
    if parameter.required and parameter.param_type_name == "option":
        sentences.append("Required.")
    return " ".join(sentence for sentence in sentences if sentence)


def rendered(page: Page, width: int) -> str:
    """Return the page as text of at most ``width`` columns, but for longer words."""
    blocks = [
        _wrapped(f"Usage: {page.path} ", page.usage, width),
        *(textwrap.fill(paragraph, width, break_on_hyphens=False) for paragraph in page.paragraphs),
        *(_section(section, width) for section in page.sections),
    ]
    return "\n\n".join(blocks) + "\n"


def _wrapped(first: str, text: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _section(section: Section, width: int) -> str:
    fitting = [len(row.term) for row in section.rows if len(row.term) <= _MAX_TERM]
    column = _INDENT + max(fitting, default=_MAX_TERM) + 2
    return "\n".join([f"{section.heading}:", *_rows(section.rows, column, width)])


def _rows(rows: Iterable[Row], column: int, width: int) -> Iterator[str]:
    for row in rows:
        term = " " * _INDENT + row.term
        if len(term) + 2 > column:
            yield term
            term = ""
        yield _wrapped(f"{term:<{column}}", row.text, width) if row.text else term
