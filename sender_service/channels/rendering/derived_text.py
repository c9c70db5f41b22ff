"""The plain text of a campaign that has only HTML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering.html_text import html_to_text
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.channels.rendering.templates import LiquidTemplate

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
#: Inside Liquid, these may put HTML into the output, which only the output shows.
_MAKES_HTML = re.compile(r"[<&]|\b(?:safe|newline_to_br|escape|escape_once|capture|raw)\b")
#: Private characters that mark where a piece of Liquid stood.
_MARK = re.compile("\ue000([0-9]+)\ue001")
_LINK = re.compile(r"<a\b.*?(?:</a>|$)", re.DOTALL | re.IGNORECASE)
#: What is left where a branch was not taken.
_BLANK_LINES = re.compile(r"(?<![ \t])[ \t]*+\n(?:[ \t]*+\n)++")
#: The longest HTML that is converted for a message within a light budget, characters.
_LIGHT_HTML = 16 * 1024


class DerivedText:
    """Plain text for HTML.

    Converting HTML costs ten times what rendering it does. So the template is
    converted once, with its Liquid kept in place, wherever that gives the same words;
    elsewhere each message's HTML is converted.

    Args:
        html: the compiled HTML template.
    """

    def __init__(self, html: LiquidTemplate) -> None:
        self._budget = html.budget
        self._template = _converted(html.source)
        #: True if it is the same for everyone.
        self.is_constant = self._template is not None and self._template.is_constant

    def render(self, variables: Mapping[str, Any], html: str) -> str:
        """Return the text for ``variables``, with which ``html`` was rendered.

        Raises:
            TemplateError: it can't be rendered with these variables.
            OverBudgetError: its budget is light, and it needs more.
        """
        if self._template is None:
            if self._budget.is_light and len(html) > _LIGHT_HTML:
                raise OverBudgetError
            return html_to_text(html)
        return _BLANK_LINES.sub("\n\n", self._template.render(variables))


def _converted(source: str) -> LiquidTemplate | None:
    """Return the template of the text, or None where only rendered HTML shows it."""
    pieces: list[str] = _LIQUID.findall(source)
    if "\ue000" in source or any(_MAKES_HTML.search(piece) for piece in pieces):
        return None
    if any("{%" in link for link in _LINK.findall(source)):
        return None  # which link it is may depend on a branch
    numbers = iter(range(len(pieces)))
    marked = _LIQUID.sub(lambda _: f"\ue000{next(numbers)}\ue001", source)
    text = html_to_text(marked)
    kept = {int(number) for number in _MARK.findall(text)}
    if any(piece.startswith("{%") for n, piece in enumerate(pieces) if n not in kept):
        return None  # a tag stands where no text comes from, and may matter elsewhere
    text = _MARK.sub(lambda mark: pieces[int(mark[1])], text)
    try:
        return LiquidTemplate("html", text)
    except TemplateError:
        return None
