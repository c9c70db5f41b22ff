"""The form of a key: ``closeout_<id>_<secret><check>``; pure but for chance.

The id is public and has 12 characters of base32. The secret is 32 random bytes as 43 digits
of base62. The check is the CRC-32 of all before it as 6 such digits: it tells a typo from a
wrong key without a look at the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Final

from service_runtime.errors import KeyMalformedError, KeyMissingError

#: What a key looks like; docs/access.md and SECURITY.md publish it for scanners.
PATTERN: Final = r"closeout_[a-z2-7]{12}_[0-9A-Za-z]{49}"

_KEY = re.compile(r"closeout_([a-z2-7]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_BYTES: Final = 8
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32
_SECRET_LENGTH: Final = 43
_CHECK_LENGTH: Final = 6
_SCHEME: Final = "bearer"


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A whole key that a caller presents; nobody has looked yet whether there is one.

    Attributes:
        key_id: the public part.
        secret_hash: the SHA-256 of the secret; the secret itself is not kept.
    """

    key_id: str
    secret_hash: bytes = field(repr=False)

    def matches(self, stored_hash: bytes) -> bool:
        """Return whether its secret is the stored one, in a time that says nothing."""
        return hmac.compare_digest(self.secret_hash, stored_hash)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made.

    Attributes:
        key_id: the public part.
        secret_hash: what is stored of the secret.
        text: the key itself, to be shown once.
    """

    key_id: str
    secret_hash: bytes = field(repr=False)
    text: str = field(repr=False)


def generate() -> NewKey:
    """Return a key that nobody has."""
    key_id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()[:_ID_LENGTH]
    secret = _base62(int.from_bytes(secrets.token_bytes(_SECRET_BYTES)), _SECRET_LENGTH)
    return NewKey(key_id, _hash(secret), compose(key_id, secret))


def parse(text: str) -> PresentedKey:
    """Return the parts of a key.

    Raises:
        KeyMalformedError: its form or its check sum is wrong; the text does not show it.
    """
    found = _KEY.fullmatch(text)
    if found is None:
        raise KeyMalformedError(
            "this is not a key: a key has the form closeout_ID_SECRET, 71 characters; copy it again"
        )
    key_id, secret, _ = found.groups()
    if compose(key_id, secret) != text:
        raise KeyMalformedError("this key has a typo: its check sum is wrong; copy it again")
    return PresentedKey(key_id, _hash(secret))


def parse_bearer(authorization: str) -> PresentedKey:
    """Return the key in the value of an ``authorization`` header: ``Bearer closeout_…``.

    Raises:
        KeyMissingError: the value is empty.
        KeyMalformedError: it is something else.
    """
    if not authorization.strip():
        raise KeyMissingError(
            "this service needs a key: ask who runs it for one, or make one beside the service with"
            " closeout keys create; send it as metadata, authorization: Bearer closeout_…; the"
            " clients and the command line take it from CLOSEOUT_API_KEY or CLOSEOUT_API_KEY_FILE"
        )
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != _SCHEME:
        raise KeyMalformedError(
            "the authorization has another form than `Bearer closeout_…`; send a key in it"
        )
    return parse(text.strip())


def compose(key_id: str, secret: str) -> str:
    """Return the key of an id and a secret, with its check sum."""
    body = f"closeout_{key_id}_{secret}"
    return body + _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
