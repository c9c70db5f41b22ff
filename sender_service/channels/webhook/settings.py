"""Where messages are posted to: the table ``[webhook]``."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pydantic

from sender_service.channels.errors import ChannelNotConfiguredError
from service_runtime.settings import Section

#: Secrets made for Standard Webhooks begin with it.
_SECRET_PREFIX = "whsec_"  # noqa: S105 - marks one, and is none


class WebhookSettings(Section):
    """The table ``[webhook]``."""

    #: Where messages are posted to: https://... or http://... Without it, the channel
    #: can't be used.
    url: str = ""
    #: The key of the signature (see WebhookChannel); empty: messages are not signed.
    secret: pydantic.SecretStr = pydantic.SecretStr("")
    #: The value of the Authorization header, as in "Bearer ..."; empty: none.
    authorization: pydantic.SecretStr = pydantic.SecretStr("")
    #: What a check of the channel gets, with the Authorization header; 2xx: a message may be
    #: posted now. Empty: a check only connects.
    health_url: str = ""
    #: Connections kept to the server; each carries one message at a time.
    connections: int = pydantic.Field(default=64, ge=1, le=1000)
    #: The longest one message may take, connecting included.
    timeout_seconds: float = pydantic.Field(default=30.0, gt=0, le=600)


def checked_url(url: str, field: str = "url", *, required: bool = True) -> str:
    """Return ``url`` if a request can be made to it.

    Args:
        url: the value of the setting.
        field: its name.
        required: whether it must be set.

    Raises:
        ChannelNotConfiguredError: it can't be used, or is missing.
    """
    if not url:
        if not required:
            return url
        raise ChannelNotConfiguredError(
            "webhook.url is not set (CLOSEOUT_WEBHOOK_URL): where are messages posted to?"
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ChannelNotConfiguredError(f"webhook.{field} is not an https:// or http:// address")
    if parts.username or parts.password:
        raise ChannelNotConfiguredError(
            f"webhook.{field} holds a password; give it as webhook.authorization"
        )
    return url


def header_value(secret: pydantic.SecretStr, field: str) -> str:
    """Return what is in ``secret`` if a header can carry it.

    Raises:
        ChannelNotConfiguredError: it can't.
    """
    value = secret.get_secret_value()
    if not value.isascii() or not value.isprintable():
        raise ChannelNotConfiguredError(f"webhook.{field} has characters no header can have")
    return value


def signing_key(secret: pydantic.SecretStr) -> bytes:
    """Return the key that ``secret`` stands for; empty if there is none.

    Raises:
        ChannelNotConfiguredError: it is not what its prefix says.
    """
    value = secret.get_secret_value()
    encoded = value.removeprefix(_SECRET_PREFIX)
    if encoded == value:
        return value.encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ChannelNotConfiguredError(
            f"webhook.secret begins with {_SECRET_PREFIX}, but is not base64 behind it"
        ) from error
