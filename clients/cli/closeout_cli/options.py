"""The options and arguments that several commands have."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from closeout.aio import SenderClient, StatusClient
from closeout_cli import addresses
from closeout_cli.failures import naming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

T = TypeVar("T")


@dataclass
class Defaults:
    """Options before the command's name, for all commands."""

    status_address: str = ""
    sender_address: str = ""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the asynchronous part of a command to its end."""
    return asyncio.run(main)


def _status(context: typer.Context, value: str) -> str:
    given = context.ensure_object(Defaults).status_address
    return value or given or addresses.status_address()


def _sender(context: typer.Context, value: str) -> str:
    given = context.ensure_object(Defaults).sender_address
    return value or given or addresses.sender_address()


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
        help=STATUS_HELP,
        callback=_status,
        show_default=False,
    ),
]
SenderAddress = Annotated[
    str,
    typer.Option(
        "--sender-address",
        metavar="HOST:PORT",
        help=SENDER_HELP,
        callback=_sender,
        show_default=False,
    ),
]
CampaignId = Annotated[
    str, typer.Argument(metavar="ID", help="The campaign's id.", show_default=False)
]
Reason = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Why, for the audit trail.", show_default=False),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON with stable names: one object a line.")
]


@contextlib.asynccontextmanager
async def status_client(address: str) -> AsyncIterator[StatusClient]:
    """Give a client whose failure to reach the service says what to do.

    Raises:
        CommandError: the service does not answer.
    """
    with naming("status service", address, "--status-address"):
        async with StatusClient(address) as client:
            yield client


@contextlib.asynccontextmanager
async def sender_client(address: str) -> AsyncIterator[SenderClient]:
    """Give a client whose failure to reach the service says what to do.

    Raises:
        CommandError: the service does not answer.
    """
    with naming("sender service", address, "--sender-address"):
        async with SenderClient(address) as client:
            yield client
