"""The options and arguments that several commands have."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import inspect
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from closeout.aio import AccessClient, EventClient, SenderClient, StatusClient
from closeout_cli import addresses, interrupts
from closeout_cli.completion import campaign_ids
from closeout_cli.credentials import client_options
from closeout_cli.failures import naming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")

#: As many characters the services take.
_MAX_ON_BEHALF_OF = 128


@dataclass
class Defaults:
    """Options before the command's name, for all commands."""

    status_address: str = ""
    sender_address: str = ""
    as_json: bool = False


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the asynchronous part of a command to its end."""

    async def interruptible() -> T:
        with interrupts.heard():
            return await main

    return asyncio.run(interruptible())


def _status(context: typer.Context, value: str) -> str:
    given = context.ensure_object(Defaults).status_address
    return value or given or addresses.status_address()


def _sender(context: typer.Context, value: str) -> str:
    given = context.ensure_object(Defaults).sender_address
    return value or given or addresses.sender_address()


def _json(context: typer.Context, value: bool) -> bool:  # noqa: FBT001 - called so by typer
    return value or context.ensure_object(Defaults).as_json


#: The texts of ``closeout --help``; elsewhere a short one stands.
STATUS_HELP = (
    "Where the status service is. Default: CLOSEOUT_SENDER_STATUS_ADDRESS, or"
    f" CLOSEOUT_STATUS_LISTEN, or {addresses.STATUS_DEFAULT}."
)
SENDER_HELP = (
    f"Where the sender service is. Default: CLOSEOUT_SENDER_LISTEN, or {addresses.SENDER_DEFAULT}."
)

StatusAddress = Annotated[
    str,
    typer.Option(
        "--status-address",
        metavar="HOST:PORT",
        help="Where the status service is.",
        callback=_status,
        show_default=False,
    ),
]
SenderAddress = Annotated[
    str,
    typer.Option(
        "--sender-address",
        metavar="HOST:PORT",
        help="Where the sender service is.",
        callback=_sender,
        show_default=False,
    ),
]
CampaignId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The campaign's id.",
        show_default=False,
        autocompletion=campaign_ids,
    ),
]
Reason = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Why, for the audit trail.", show_default=False),
]
_IgnoredStatus = Annotated[
    str,
    typer.Option(
        "--status-address",
        metavar="HOST:PORT",
        help="Where the status service is.",
        show_default=False,
    ),
]
_IgnoredSender = Annotated[
    str,
    typer.Option(
        "--sender-address",
        metavar="HOST:PORT",
        help="Where the sender service is.",
        show_default=False,
    ),
]
JSON_HELP = (
    "Print JSON with stable names: one object, or one a line for lists and what is followed."
    " Failures are JSON too, on standard error."
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_json)]


def with_global_options(command: Callable[..., int]) -> Callable[..., int]:
    """Return the command with the options that every command takes.

    Those it does not have itself are accepted and ignored, so that nobody needs to know
    which command talks to which service.
    """
    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, default, annotation in (
            ("status_address", "", _IgnoredStatus),
            ("sender_address", "", _IgnoredSender),
            ("as_json", False, Json),
        )
        if name not in signature.parameters
    ]

    @functools.wraps(command)
    def accepting(**values: Any) -> int:
        for parameter in added:
            del values[parameter.name]
        return command(**values)

    parameters = [*signature.parameters.values(), *added]
    accepting.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # inspect reads it
    accepting.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return accepting


def on_behalf_of() -> str:
    """Return who uses the command, for the audit trail: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # this user id has no name
        user = str(os.getuid())
    text = f"{user}@{socket.gethostname()}"
    # Metadata of a call takes nothing else.
    plain = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
    return plain[:_MAX_ON_BEHALF_OF].strip()


def status_of(address: str) -> StatusClient:
    """Return a client of the status service that says who uses it.

    Raises:
        CommandError: key or TLS can't be used.
    """
    return StatusClient(address, on_behalf_of=on_behalf_of(), **client_options(address))


def access_of(address: str) -> AccessClient:
    """Return a client of the keys at the status service that says who uses it."""
    return AccessClient(address, on_behalf_of=on_behalf_of(), **client_options(address))


def events_of(address: str) -> EventClient:
    """Return a client of the events at the status service that says who uses it."""
    return EventClient(address, on_behalf_of=on_behalf_of(), **client_options(address))


def sender_of(address: str) -> SenderClient:
    """Return a client of the sender service that says who uses it.

    Raises:
        CommandError: key or TLS can't be used.
    """
    return SenderClient(address, on_behalf_of=on_behalf_of(), **client_options(address))


@contextlib.asynccontextmanager
async def status_client(address: str) -> AsyncIterator[StatusClient]:
    """Give a client whose failure to reach the service says what to do.

    Raises:
        CommandError: the service does not answer.
    """
    with naming("status service", address, "--status-address"):
        async with status_of(address) as client:
            yield client


@contextlib.asynccontextmanager
async def access_client(address: str) -> AsyncIterator[AccessClient]:
    """Give a client of the keys whose failure to reach the service says what to do.

    Raises:
        CommandError: the service does not answer.
    """
    with naming("status service", address, "--status-address"):
        async with access_of(address) as client:
            yield client


@contextlib.asynccontextmanager
async def event_client(address: str) -> AsyncIterator[EventClient]:
    """Give a client of the events whose failure to reach the service says what to do.

    Raises:
        CommandError: the service does not answer.
    """
    with naming("status service", address, "--status-address"):
        async with events_of(address) as client:
            yield client


@contextlib.asynccontextmanager
async def sender_client(address: str) -> AsyncIterator[SenderClient]:
    """Give a client whose failure to reach the service says what to do.

    Raises:
        CommandError: the service does not answer.
    """
    with naming("sender service", address, "--sender-address"):
        async with sender_of(address) as client:
            yield client
