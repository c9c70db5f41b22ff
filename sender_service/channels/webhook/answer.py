"""The body of a webhook's answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

#: As much of an answer is read, bytes; more is of no interest.
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_ID_CHARACTERS = 255


async def read(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of an answer's body."""
    content = b""
    while len(content) < _MAX_ANSWER_BYTES:
        chunk = await response.content.read(_MAX_ANSWER_BYTES - len(content))
        if not chunk:
            break
        content += chunk
    return content


def message_id(content: bytes) -> str:
    """Return the id that an answer gives the message; empty if it has none."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return ""  # an answer need not be JSON
    if not isinstance(answer, dict):
        return ""
    for name in ("id", "message_id"):
        value = answer.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value)
            return text[:_MAX_ID_CHARACTERS] if text.isprintable() else ""
    return ""
