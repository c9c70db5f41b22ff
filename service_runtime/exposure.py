"""Whether a service may listen where it is to listen, by what guards it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from service_runtime.errors import StartupError
from service_runtime.port_holder import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Where a service can be reached, and what guards it.

    Attributes:
        table: the table of its settings, as in ``status``.
        addresses: HOST:PORT of everything it listens on; an empty one counts as nowhere.
        keys_exist: it serves nobody without a key.
        tls: what is said on these addresses is encrypted.
        allow_without_keys: the setting.
        allow_plaintext: the setting.
    """

    table: str
    addresses: tuple[str, ...]
    keys_exist: bool
    tls: bool
    allow_without_keys: bool
    allow_plaintext: bool


def check(exposure: Exposure) -> list[str]:
    """Return what to warn of, one text for each danger that a setting allows.

    Raises:
        StartupError: others than this machine could reach the service, and it has no keys, or
            keys that would be sent in plain text; the text names the setting.
    """
    outside = [place for place in exposure.addresses if place and not is_loopback(place)]
    if not outside:
        return []
    places = " and ".join(outside)
    if not exposure.keys_exist:
        return _without_keys(exposure, places)
    if exposure.tls:
        return []
    if not exposure.allow_plaintext:
        raise StartupError(
            f"{places} can be reached from elsewhere without TLS, so that anybody on the way"
            " could read keys and recipients: configure TLS, listen on 127.0.0.1, or set"
            f" allow_plaintext = true in [{exposure.table}] if something else encrypts"
        )
    return [
        (
            f"{places} can be reached from elsewhere without TLS: anybody on the way can read keys"
            f" and recipients; [{exposure.table}] allow_plaintext allows it"
        )
    ]


def _without_keys(exposure: Exposure, places: str) -> list[str]:
    if not exposure.allow_without_keys:
        raise StartupError(
            f"{places} can be reached from elsewhere, and this service has no keys, so that"
            " anybody could read recipients and change campaigns: make the first key with"
            " closeout keys create --admin, listen on 127.0.0.1, or set"
            f" allow_without_keys = true in [{exposure.table}] if something else guards it"
        )
    return [
        (
            f"{places} can be reached from elsewhere: anybody who reaches it can read recipients"
            f" and change campaigns, without a key; [{exposure.table}] allow_without_keys allows it"
        )
    ]
