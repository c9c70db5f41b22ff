"""Content of any kind as it is, without what a provider puts around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.channels.contract import JsonContent, NoContent
from sender_service.channels.errors import InvalidContentError
from sender_service.channels.rendering.content import CompiledContent
from sender_service.channels.rendering.json_document import JsonDocument

if TYPE_CHECKING:
    from sender_service.channels.contract import Content


def console_texts(content: Content) -> CompiledContent | JsonDocument:
    """Compile the templates of what the channel ``console`` prints.

    Raises:
        TemplateError: a template is broken; it says which, line and column.
        InvalidContentError: there is no content, or neither text nor HTML.
    """
    match content:
        case JsonContent():
            return JsonDocument(content)
        case NoContent():
            takes = "email, text or json"
            raise InvalidContentError.of_kind("console", content.kind, takes=takes)
        case _:
            return CompiledContent(content)
