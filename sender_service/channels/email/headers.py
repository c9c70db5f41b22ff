"""Header fields of e-mail, written so that no value can become another field.

Whatever reaches a header passes through here. Python's own checks are not relied on,
because older versions let line breaks through (CVE-2024-6923, CVE-2026-1299).
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from sender_service.channels.errors import InvalidContentError, UnsafeHeaderError
from sender_service.channels.rendering.header_text import BREAKS, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sender_service.channels.email.addresses import Mailbox

#: Where lines are folded if they can be, and where they must be (RFC 5322, 2.1.1).
_FOLD_AT = 76
_LONGEST_WORD = 900
#: Bytes that fill an encoded word of 75 characters (RFC 2047, section 2).
_ENCODED_WORD_BYTES = 45

_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_NAME = re.compile(r"[!-9;-~]{1,70}")
_URI = re.compile(r"(?:https?://|mailto:)[!-;=?-~]+")
_URI_LIST = re.compile(r"<([^<>]*)>(?:,<([^<>]*)>)*")

#: Written by us, or by the servers on the way.
_RESERVED = re.compile(
    r"from|to|cc|bcc|reply-to|subject|date|message-id|mime-version|content-.*|resent-.*"
    r"|list-unsubscribe|list-unsubscribe-post|return-path|received",
)


def unstructured(text: str) -> bytes:
    """Return free text as the value of a field, folded, encoded where it must be.

    Reading the field gives ``one_line(text)`` back.
    """
    text = one_line(text)
    words = text.split(" ")
    if not _is_plain(text) or max(map(len, words)) > _LONGEST_WORD:
        return _encoded_words(text)
    return _folded(words).encode("ascii")


def _is_plain(text: str) -> bool:
    # Text that looks like an encoded word would be decoded.
    return text.isascii() and "=?" not in text


def _folded(words: list[str]) -> str:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _FOLD_AT:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return "\r\n ".join(lines)


def _encoded_words(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    words = []
    start = 0
    while start < len(data):
        end = min(start + _ENCODED_WORD_BYTES, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004 - within a character
            end -= 1
        words.append(b"=?utf-8?b?" + base64.b64encode(data[start:end]) + b"?=")
        start = end
    return b"\r\n ".join(words)


def mailbox(box: Mailbox) -> bytes:
    """Return an address with its name as the value of a field."""
    address = box.address.address.encode("utf-8")
    name = one_line(box.name)
    if not name:
        return address
    if not _is_plain(name):
        phrase = _encoded_words(name)
    elif _ATOMS.fullmatch(name):
        phrase = name.encode("ascii")
    else:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        phrase = f'"{escaped}"'.encode("ascii")
    return phrase + b" <" + address + b">"


def list_unsubscribe(rendered: str) -> bytes:
    """Return the fields List-Unsubscribe and, with an https address, its -Post.

    ``rendered`` is one address, or several written as ``<https://…>, <mailto:…>``.

    Raises:
        UnsafeHeaderError: it is no such address, or can't stand in a header.
    """
    text = rendered.strip(" ")
    listed = text.replace(", ", ",")
    uris = re.findall(r"<([^<>]*)>", listed) if _URI_LIST.fullmatch(listed) else [text]
    uris = [_percent_encoded(uri) for uri in uris]
    for uri in uris:
        if not _URI.fullmatch(uri):
            raise UnsafeHeaderError("list_unsubscribe is not an https: or mailto: address")
        if len(uri) > _LONGEST_WORD:
            raise UnsafeHeaderError(f"list_unsubscribe is longer than {_LONGEST_WORD} characters")
    fields = "List-Unsubscribe: " + ",\r\n ".join(f"<{uri}>" for uri in uris) + "\r\n"
    if any(uri.startswith("https://") for uri in uris):  # RFC 8058 knows no other
        fields += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    return fields.encode("ascii")


def _percent_encoded(uri: str) -> str:
    if uri.isascii():
        return uri
    return "".join(
        c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "replace"))
        for c in uri
    )


def extra_fields(headers: Mapping[str, str]) -> bytes:
    """Return the fields a campaign adds.

    Raises:
        InvalidContentError: a name is wrong, repeated or reserved, or a value
            has a line break or another control character.
    """
    fields = b""
    seen = set()
    for name, value in headers.items():
        where = f"headers.{one_line(name)[:70]}"
        if not _NAME.fullmatch(name):
            raise InvalidContentError(where, "a header's name is printable ASCII without a colon")
        if _RESERVED.fullmatch(name.lower()):
            raise InvalidContentError(where, "this header is written by the service")
        if name.lower() in seen:
            raise InvalidContentError(where, "the header is there twice")
        seen.add(name.lower())
        if any(c != " " and BREAKS.match(c) for c in value):
            raise InvalidContentError(where, "the value has a line break or control character")
        if max(map(len, value.split(" "))) > _LONGEST_WORD:
            raise InvalidContentError(
                where, f"the value has more than {_LONGEST_WORD} characters without a space"
            )
        fields += name.encode("ascii") + b": " + unstructured(value) + b"\r\n"
    return fields
