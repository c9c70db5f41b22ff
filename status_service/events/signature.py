"""The signature of a delivery, by the rule of Standard Webhooks (symmetric, ``v1``).

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

#: What a secret begins with.
PREFIX: Final = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    """Return a secret: ``whsec_`` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Return whether ``text`` is a secret of 24 to 64 bytes, as the rule asks for."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(PREFIX) and 24 <= len(key) <= 64  # noqa: PLR2004 - as the docstring says


def headers(secret: str, *, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that prove who sent ``body``, and when.

    Args:
        secret: as :func:`new_secret` makes it.
        event_id: the same at every try, so that a receiver can leave out repetitions.
        timestamp: of this try, seconds since 1970.
        body: what is sent.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{event_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
