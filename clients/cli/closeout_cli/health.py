"""``closeout health``: do both services live, and are they ready."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import ssl
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from closeout_cli import addresses, health_checks, screen
from closeout_cli.credentials import client_options
from closeout_cli.failures import FAILED, OK
from closeout_cli.options import Json, SenderAddress, StatusAddress, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_SECONDS = 10.0
_READY = 200
#: Addresses on which a service listens that are no place to call.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - compared
_HTTP_HELP = (
    "Where its HTTP is, HOST:PORT, or https://HOST:PORT with TLS. Default: the setting http_listen."
)


@dataclass(frozen=True, slots=True)
class Health:
    """What one way to a service says.

    Attributes:
        service: ``status`` or ``sender``.
        way: ``grpc`` or ``http``.
        address: where it was asked.
        ok: whether all is well.
        summary: what it said, for people, and what to do.
    """

    service: str
    way: str
    address: str
    ok: bool
    summary: str


def health(
    *,
    status_http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help=_HTTP_HELP, show_default=False)
    ] = "",
    sender_http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help=_HTTP_HELP, show_default=False)
    ] = "",
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Ask both services whether they live and are ready.

    Each is asked over gRPC and over HTTP, where a service that is not ready names what
    it lacks. It needs no key, so it serves as a probe. HTTP is not asked where it is off,
    or listens on a port that only the service knows.

    In a pipe or a file, each answer is one line with tabs between its values: service,
    grpc or http, address, ok or problem, what it said.

    Exit code 0 if both are ready, otherwise 1.
    """
    places = (
        ("status", status_address, status_http or addresses.http_address("status")),
        ("sender", sender_address, sender_http or addresses.http_address("sender")),
    )
    found = run(_ask(places))
    if as_json:
        everything = all(one.ok for one in found)
        screen.print_json({"ok": everything, "answers": [asdict(one) for one in found]})
    else:
        _show(found)
    return OK if all(one.ok for one in found) else FAILED


async def _ask(places: Sequence[tuple[str, str, str]]) -> list[Health]:
    asked = [
        question
        for name, address, http_address in places
        for question in (
            _over_grpc(name, address),
            *((asyncio.to_thread(_over_http, name, http_address),) if http_address else ()),
        )
    ]
    found: list[Health] = await asyncio.gather(*asked)
    return found


async def _over_grpc(name: str, address: str) -> Health:
    check = (await health_checks.service(name, address, client_options(address))).check
    remedy = f"; {check.remedy}" if check.remedy else ""
    return Health(name, "grpc", address, check.ok, f"{check.summary}{remedy}")


def _over_http(name: str, address: str) -> Health:
    scheme, _, rest = address.rpartition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    host = _EVERYWHERE.get(host, host)
    place = f"{host}:{port}"
    try:
        connection = _connection(scheme, host.strip("[]"), int(port))
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        summary = (
            f"/readyz does not answer at {place} ({reason}); correct [{name}] http_listen, or"
            f" name it with --{name}-http"
        )
        return Health(name, "http", place, ok=False, summary=summary)
    if answer.status == _READY:
        return Health(name, "http", place, ok=True, summary=f"ready at {place}")
    return Health(name, "http", place, ok=False, summary=_missing(answer.status, body))


def _connection(scheme: str, host: str, port: int) -> http.client.HTTPConnection:
    """Return a connection, which is not open yet."""
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    context = ssl.create_default_context(cafile=os.environ.get("CLOSEOUT_TLS_CA_FILE") or None)
    if certificate := os.environ.get("CLOSEOUT_TLS_CERTIFICATE_FILE"):
        context.load_cert_chain(certificate, os.environ.get("CLOSEOUT_TLS_KEY_FILE") or None)
    return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


def _missing(code: int, body: bytes) -> str:
    try:
        missing = json.loads(body)["missing"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"/readyz answers {code}: something else than Closeout listens there"
    listed = "; ".join(f"{name}: {why}" for name, why in missing)
    return f"not ready: {listed}; the log of the service has more"


def _show(found: Sequence[Health]) -> None:
    for one in found:
        result = "ok" if one.ok else "problem"
        if not screen.on_terminal():
            screen.row(one.service, one.way, one.address, result, one.summary)
            continue
        style = "green" if one.ok else "bold red"
        text = f"{one.service} service, {one.way}: {one.summary}"
        screen.console().print(f"[{style}]{result:<8}[/]{screen.plain(text)}", soft_wrap=False)
