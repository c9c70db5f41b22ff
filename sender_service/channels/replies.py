"""Replies that several channels give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.channels.contract import Answer, Reply

if TYPE_CHECKING:
    from sender_service.channels.errors import TemplateError

_MAX_DETAIL_CHARACTERS = 500


def detail(text: object) -> str:
    """Return a text as a reply may carry it: one line, printable, bounded."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) <= _MAX_DETAIL_CHARACTERS:
        return line
    return line[: _MAX_DETAIL_CHARACTERS - 1] + "\u2026"


def render_error(error: TemplateError) -> Reply:
    """Return the reply for a message whose template can't be rendered."""
    return Reply(Answer.REFUSED, code="render_error", detail=detail(error))
