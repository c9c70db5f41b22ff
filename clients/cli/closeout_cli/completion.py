"""What the shell completes: ids of campaigns, keys and subscriptions, from the status service."""

from __future__ import annotations

import asyncio

import typer  # noqa: TC002 - typer reads the annotations

from closeout.aio import AccessClient, EventClient, StatusClient
from closeout.errors import ClientError
from closeout_cli import addresses
from closeout_cli.credentials import client_options
from closeout_cli.failures import CommandError

#: Nobody waits longer for a list of ids, seconds.
_TIMEOUT_SECONDS = 1.0
#: The newest campaigns; who has more types more.
_MAX_IDS = 200


def campaign_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return ids that begin so, newest first; none if the service does not answer in time."""
    try:
        return asyncio.run(_ids(_address(context), incomplete))
    except (ClientError, CommandError, TimeoutError):
        return []  # a shell that completes has no place for messages


def key_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return ids of keys that begin so, newest first; none if nobody answers in time."""
    try:
        return asyncio.run(_key_ids(_address(context), incomplete))
    except (ClientError, CommandError, TimeoutError):
        return []  # a shell that completes has no place for messages


def subscription_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return ids of subscriptions that begin so; none if nobody answers in time."""
    try:
        return asyncio.run(_subscription_ids(_address(context), incomplete))
    except (ClientError, CommandError, TimeoutError):
        return []  # a shell that completes has no place for messages


async def _subscription_ids(address: str, incomplete: str) -> list[str]:
    async with (
        asyncio.timeout(_TIMEOUT_SECONDS),
        EventClient(address, **client_options(address)) as events,
    ):
        found = (await events.list_subscriptions()).subscriptions
    ids = [one.subscription_id for one in found]
    return [one for one in ids if one.startswith(incomplete)]


async def _key_ids(address: str, incomplete: str) -> list[str]:
    async with (
        asyncio.timeout(_TIMEOUT_SECONDS),
        AccessClient(address, **client_options(address)) as access,
    ):
        found = [key.key_id async for key in access.list_keys(page_size=_MAX_IDS)]
    return [key_id for key_id in found if key_id.startswith(incomplete)][:_MAX_IDS]


def _address(context: typer.Context) -> str:
    for place in (context, context.parent, context.find_root()):
        source = place.get_parameter_source("status_address") if place else None
        if place and source and source.name == "COMMANDLINE":
            return str(place.params["status_address"])
    return addresses.status_address()


async def _ids(address: str, incomplete: str) -> list[str]:
    async with (
        asyncio.timeout(_TIMEOUT_SECONDS),
        StatusClient(address, **client_options(address)) as status,
    ):
        campaigns = status.list_campaigns(page_size=_MAX_IDS)
        found: list[str] = []
        async for campaign in campaigns:
            if campaign.campaign_id.startswith(incomplete):
                found.append(campaign.campaign_id)
            if len(found) == _MAX_IDS:
                break
        await campaigns.aclose()
    return found
