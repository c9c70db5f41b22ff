"""``closeout events subscribe`` and what else there is about webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from closeout_cli import screen
from closeout_cli.completion import subscription_ids
from closeout_cli.failures import OK, say
from closeout_cli.options import Json, StatusAddress, event_client, run
from closeout_cli.prompts import Yes, confirm, may_ask
from closeout_cli.tables import Column
from closeout_cli.words import parse_label, rfc3339, short_clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from closeout.status.v1 import events_pb2 as pb

_COLUMNS = (
    Column("Id"),
    Column("URL", shrink=True, below=True),
    Column("Kinds", shrink=True, below=True),
    Column("Labels", shrink=True, below=True),
    Column("Made", drop=1),
    Column("By", drop=2),
)
SubscriptionId = Annotated[
    str,
    typer.Argument(
        metavar="SUBSCRIPTION",
        help="The subscription's id.",
        show_default=False,
        autocompletion=subscription_ids,
    ),
]


def short_kind(kind: str) -> str:
    """Return a kind without what all of them begin with, for a terminal."""
    return kind.removeprefix("campaign.")


def subscribe(
    *,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where events go, by POST.", show_default=False)
    ],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only events of this kind, as in campaign.completed; repeatable. Without it:"
            " that a campaign ended, or that a person should look at it.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="KEY=VALUE",
            help="Only events of campaigns with this label; repeatable: with all of them.",
            show_default=False,
        ),
    ] = None,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Send events to a URL from now on, and print the secret that signs them, this once.

    Nothing else is printed to standard output, so that $(closeout events subscribe ...) is
    the secret. Nobody can show it again.
    """
    try:
        wanted = dict(parse_label(label) for label in labels or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    made = run(_subscribe(status_address, url, kinds or (), wanted))
    if as_json:
        screen.print_json(made)
        return OK
    screen.line(made.secret)
    say(
        f"subscription {made.subscription.subscription_id} sends events to"
        f" {made.subscription.url}; this secret signs them, and is shown this once, so keep it"
    )
    return OK


async def _subscribe(
    address: str, url: str, kinds: Sequence[str], labels: Mapping[str, str]
) -> pb.CreateSubscriptionResponse:
    async with event_client(address) as events:
        return await events.create_subscription(url=url, kinds=kinds, labels=labels)


def list_subscriptions(*, status_address: StatusAddress = "", as_json: Json = False) -> int:
    """List the subscriptions of your organisation, oldest first.

    In a pipe or a file, each is one line with tabs between its values: id, URL, kinds,
    labels, creation, creator.
    """
    found = run(_subscriptions(status_address))
    if as_json:
        for one in found:
            screen.print_json(one)
    elif screen.on_terminal():
        screen.show_table(
            _COLUMNS,
            [
                [
                    one.subscription_id,
                    one.url,
                    ", ".join(short_kind(kind) for kind in one.kinds) or "usual",
                    ", ".join(_label_words(one)),
                    short_clock(one.create_time),
                    one.creator,
                ]
                for one in found
            ],
        )
    else:
        for one in found:
            kinds, labels = ",".join(one.kinds), ",".join(_label_words(one))
            made = rfc3339(one, "create_time")
            screen.row(one.subscription_id, one.url, kinds, labels, made, one.creator)
    return OK


def _label_words(subscription: pb.Subscription) -> list[str]:
    return [f"{key}={value}" for key, value in sorted(subscription.labels.items())]


async def _subscriptions(address: str) -> Sequence[pb.Subscription]:
    async with event_client(address) as events:
        return (await events.list_subscriptions()).subscriptions


def unsubscribe(
    *,
    subscription_id: SubscriptionId,
    yes: Yes = False,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """End a subscription, for good, and whatever was not delivered to it.

    On a terminal you are asked first.
    """
    if may_ask() and not yes:
        confirm(f"End subscription {subscription_id}, and what waits to be delivered to it?")
    run(_unsubscribe(status_address, subscription_id))
    if as_json:
        screen.print_json({"subscription_id": subscription_id})
    else:
        screen.line(f"{subscription_id}: ended")
    return OK


async def _unsubscribe(address: str, subscription_id: str) -> None:
    async with event_client(address) as events:
        await events.delete_subscription(subscription_id=subscription_id)
