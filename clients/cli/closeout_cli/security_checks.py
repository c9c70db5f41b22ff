"""What ``closeout doctor`` checks of keys and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from closeout.credentials import is_local
from closeout_cli.health_checks import Check

if TYPE_CHECKING:
    from closeout.environment import ClientOptions
    from closeout.tls import Tls
    from closeout_cli.health_checks import Service

#: A certificate that ends within so long needs a new one.
_SOON = timedelta(days=14)
#: How long a service may take for a handshake, seconds.
_TIMEOUT_SECONDS = 10.0


def key_in_plain_text(services: list[Service], options: ClientOptions) -> list[Check]:
    """Return a line for each service that the key reaches in plain text; a setting allowed it."""
    if not options["api_key"] or options["tls"] is not None:
        return []
    return [
        Check(
            "key",
            ok=False,
            summary=f"goes to the {found.name} service at {found.address} in plain text",
            remedy="use TLS: CLOSEOUT_TLS_CA_FILE in the place of CLOSEOUT_TLS=off",
        )
        for found in services
        if not is_local(found.address)
    ]


async def certificates(services: list[Service], tls: Tls | None) -> list[Check]:
    """Return a line for each certificate in use: those of the services, and ours."""
    if tls is None:
        return []
    from cryptography import x509  # noqa: PLC0415 - slow to import

    checks = []
    for found in services:
        ends = await asyncio.gather(
            *(asyncio.to_thread(_served_end, part, tls) for part in _places(found.address))
        )
        if known := [end for end in ends if end is not None]:
            checks.append(_check(f"certificate of the {found.name} service", min(known), "there"))
    if tls.certificate_file:
        ours = await asyncio.to_thread(Path(tls.certificate_file).read_bytes)
        end = x509.load_pem_x509_certificate(ours).not_valid_after_utc
        checks.append(_check("certificate of this client", end, f"in {tls.certificate_file}"))
    return checks


def _check(name: str, end: datetime, where: str) -> Check:
    left = end - datetime.now(UTC)
    summary = f"ends at {end:%Y-%m-%dT%H:%M:%SZ}, in {max(0, left.days)} days"
    if left > _SOON:
        return Check(name, ok=True, summary=summary)
    return Check(name, ok=False, summary=summary, remedy=f"renew it {where}; no restart is needed")


def _places(address: str) -> list[tuple[str, int]]:
    """Return the hosts and ports of an address that are written in it."""
    places = []
    for part in address.split(","):
        host, _, port = part.rpartition("/")[2].rpartition(":")
        if host and port.isdigit():
            places.append((host.strip("[]"), int(port)))
    return places


def _served_end(place: tuple[str, int], tls: Tls) -> datetime | None:
    """Return until when the certificate of a service is valid; None: that is not to be had."""
    context = ssl.create_default_context(cafile=tls.ca_file or None)
    context.set_alpn_protocols(["h2"])
    # A certificate for another name is what the service's own line is about.
    context.check_hostname = False
    if tls.certificate_file:
        context.load_cert_chain(tls.certificate_file, tls.key_file or None)
    with (
        contextlib.suppress(OSError),
        socket.create_connection(place, timeout=_TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=place[0]) as secured,
    ):
        found = secured.getpeercert(binary_form=True)
        if found:
            from cryptography import x509  # noqa: PLC0415 - slow to import

            return x509.load_der_x509_certificate(found).not_valid_after_utc
    return None
