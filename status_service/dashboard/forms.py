"""The fields of a form, read within bounds of bytes, fields and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

#: A form has at most so many fields, and so many bytes.
_FIELDS, _BYTES = 100, 65_536
#: So much of a form that is too large is read and thrown away, so that its sender reads why.
_DISCARDED_BYTES = 1_048_576
#: In so many seconds a form has arrived.
ARRIVES_SECONDS = 30.0
#: Where a request has that its form was read.
_READ: Final = "closeout.form_was_read"
_TYPE = "application/x-www-form-urlencoded"


def is_read(request: Request) -> bool:
    """Return whether all of a form was taken from its connection."""
    return bool(request.scope.get(_READ))


async def fields_of(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; of a field that comes twice, all values by lines.

    Raises:
        HTTPException: it is too large or too slow, or no form.
    """
    kind = request.headers.get("content-type", _TYPE)
    if kind.partition(";")[0].strip().lower() != _TYPE:
        raise HTTPException(415, "This is not a form of these pages. Nothing was changed.")
    try:
        async with asyncio.timeout(ARRIVES_SECONDS):
            body = await _bytes_of(request)
    except TimeoutError as error:
        text = "This form did not arrive in time. Nothing was changed. Send it again."
        raise HTTPException(408, text) from error
    except ClientDisconnect as error:
        raise HTTPException(400, "This form did not arrive whole. Nothing was changed.") from error
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise HTTPException(400, "This form can't be read. Nothing was changed.") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    return fields


async def _bytes_of(request: Request) -> bytes:
    """Return the bytes of a form. They are counted: nobody has to say their number truly.

    Raises:
        HTTPException: there are too many.
    """
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= _BYTES:
            body += chunk
        elif size > _DISCARDED_BYTES:
            break
    if size > _BYTES:
        raise HTTPException(413, "This form is too large. Nothing was changed.")
    request.scope[_READ] = True
    return bytes(body)
