"""Where a Liquid template is broken, when the parser does not say.

The parser gives no place for a tag that is never closed, nor for an expression that
ends too early. Both are found by looking for the shortest part of the template
that fails.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liquid.exceptions import LiquidError

from sender_service.channels.errors import bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liquid import Environment

_MARKUP = re.compile(r"\{\{.*?\}\}|\{%-?\s*+(?P<tag>\w++)?.*?%\}", re.DOTALL)
#: What stands in these is not Liquid.
_VERBATIM = frozenset({"raw", "comment", "doc"})
#: The parser refuses a template whose tags stand deeper than this in each other.
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text; line and column count from 1."""

    line: int
    column: int

    @classmethod
    def at(cls, text: str, index: int) -> Position:
        """Return the place of the character with this index."""
        return cls(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


class Places:
    """The places of many characters of one text.

    Args:
        text: the text.
    """

    def __init__(self, text: str) -> None:
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, index: int) -> Position:
        """Return the place of the character with this index."""
        line = bisect_right(self._line_starts, index)
        return Position(line, index - self._line_starts[line - 1] + 1)


@dataclass(frozen=True, slots=True)
class _Markup:
    start: int
    end: int
    #: Tags open behind it, outermost first, each with its place.
    open_tags: tuple[tuple[str, int], ...]

    def closers(self) -> str:
        return "".join(f"{{% end{name} %}}" for name, _ in reversed(self.open_tags))


def position_of(source: str, environment: Environment) -> tuple[Position | None, str]:
    """Return the place of the first error, and the tag's name if it is never closed.

    None if the error can't be narrowed down to one tag or output.
    """
    markups = list(_markups(source, environment))
    low, high = 0, len(markups)
    while low < high:  # the first markup whose prefix, closed properly, fails
        middle = (low + high) // 2
        prefix = source[: markups[middle].end] + markups[middle].closers()
        if _parses(prefix, environment):
            low = middle + 1
        else:
            high = middle
    if low < len(markups):
        return Position.at(source, markups[low].start), ""
    if markups and markups[-1].open_tags:
        name, start = markups[-1].open_tags[-1]
        return Position.at(source, start), name
    return None, ""


def _parses(source: str, environment: Environment) -> bool:
    try:
        environment.from_string(source)
    except LiquidError as error:
        bare(error)
        return False
    return True


def _markups(source: str, environment: Environment) -> Iterator[_Markup]:
    open_tags: list[tuple[str, int]] = []
    for match in _MARKUP.finditer(source):
        name = match["tag"] or ""
        if open_tags and open_tags[-1][0] in _VERBATIM:
            if name != f"end{open_tags[-1][0]}":
                continue
            open_tags.pop()
        elif open_tags and name == f"end{open_tags[-1][0]}":
            open_tags.pop()
        elif name in _VERBATIM or (name in environment.tags and environment.tags[name].block):
            open_tags.append((name, match.start()))
        yield _Markup(match.start(), match.end(), tuple(open_tags))
        if len(open_tags) > _DEEPEST:
            return  # what comes later can't be the first error
