"""A JSON document as content: rendered for each recipient, and checked to be JSON then."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NoReturn

from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering.preview import Preview
from sender_service.channels.rendering.templates import LiquidTemplate, variables_of

if TYPE_CHECKING:
    from sender_service.channels.contract import JsonContent, Message

_FIELD = "json"


class JsonDocument:
    """The document of one campaign.

    Args:
        content: the template.

    Raises:
        TemplateError: the template is broken, or is the same for everyone and no JSON.
    """

    def __init__(self, content: JsonContent) -> None:
        self._template = LiquidTemplate(_FIELD, content.json)
        if self._template.is_constant:
            _check(content.json)

    def render(self, message: Message) -> str:
        """Return the document that the recipient of ``message`` gets.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        rendered = self._template.render(variables_of(message))
        if not self._template.is_constant:
            _check(rendered)
        return rendered

    def prepared(self, message: Message) -> str:
        """Return what :meth:`render` returns; a rendering process calls this.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        return self.render(message)

    def readable(self, message: Message) -> Preview:
        """Return the document and the address it goes to.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        to = (("To", message.address),) if message.address else ()
        return Preview(headers=to, document=self.render(message))

    def preview(self, message: Message) -> str:
        """Return the document with the address it goes to.

        Raises:
            TemplateError: it can't be rendered with these fields, or is no JSON then.
        """
        return str(self.readable(message))


def _check(text: str) -> None:
    """Check that a text is JSON as RFC 8259 has it, with numbers that every reader takes.

    Raises:
        TemplateError: it is not.
    """
    try:
        json.loads(text, parse_constant=_refuse, parse_float=_finite)
        text.encode()
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise TemplateError(
            _FIELD, f"the rendered text is not JSON: {error.msg} at its {place}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TemplateError(_FIELD, f"the rendered text is not JSON: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


def _finite(number: str) -> float:
    if math.isinf(float(number)):
        raise ValueError(f"{number[:40]} is too large a number")
    return float(number)
