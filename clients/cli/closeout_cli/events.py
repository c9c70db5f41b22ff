"""``closeout events``: what happened to campaigns, and the webhooks that it goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from closeout.status.v1 import events_pb2 as pb
from closeout_cli import screen, subscriptions
from closeout_cli.completion import campaign_ids, subscription_ids
from closeout_cli.failures import OK
from closeout_cli.options import Defaults, Json, StatusAddress, event_client, run
from closeout_cli.subscriptions import SubscriptionId, short_kind
from closeout_cli.tables import Column
from closeout_cli.words import enum_name, number, rfc3339, short_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from closeout.aio import EventClient

#: What a terminal shows. docs/command-line.md lists the order in which columns go.
_EVENT_COLUMNS = (
    Column("Event"),
    Column("Time", drop=3),
    Column("Kind"),
    Column("Campaign", drop=1),
    Column("Subscription", drop=5),
    Column("State"),
    Column("Tries", right=True, drop=4),
    Column("Next try", drop=2),
    Column("Answer", shrink=True, below=True),
)


def group(
    *,
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    status_address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Where the status service is.", show_default=False),
    ] = "",
    sender_address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Where the sender service is.", show_default=False),
    ] = "",
) -> None:
    """Send what happens to campaigns to your own URLs, and see what arrived.

    A delivery that fails is tried again for a day; then it is dead until you replay it.
    """
    given = context.ensure_object(Defaults)
    context.obj = Defaults(
        status_address or given.status_address,
        sender_address or given.sender_address,
        as_json=as_json or given.as_json,
    )


def list_events(
    *,
    campaign: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Only events of this campaign.",
            show_default=False,
            autocompletion=campaign_ids,
        ),
    ] = "",
    subscription: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Only events that go to this subscription.",
            show_default=False,
            autocompletion=subscription_ids,
        ),
    ] = "",
    dead: Annotated[
        bool,
        typer.Option("--dead", help="Only those that nobody took for a day: the dead letters."),
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, help="At most how many events; 0: all.")
    ] = 100,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """List events, newest first, with what became of each delivery.

    In a pipe or a file, each delivery is one line with tabs between its values: event,
    time, kind, campaign, subscription, state, tries, next try, end, answer. An event that
    goes to nobody has one line.
    """
    return run(_list(status_address, campaign, subscription, limit, dead=dead, as_json=as_json))


async def _list(
    address: str, campaign: str, subscription: str, limit: int, *, dead: bool, as_json: bool
) -> int:
    async with event_client(address) as events:
        wanted = [subscription]
        if dead and not subscription:
            found = await events.list_subscriptions()
            wanted = [one.subscription_id for one in found.subscriptions]
        rows = [
            (event, one)
            for one in wanted
            async for event in _first(events, campaign, one, limit, dead=dead)
        ]
    if as_json:
        for event in {event.event_id: event for event, _ in rows}.values():
            screen.print_json(event)
        return OK
    lines = [(event, delivery) for event, only in rows for delivery in _deliveries(event, only)]
    if screen.on_terminal():
        screen.show_table(_EVENT_COLUMNS, [_cells(*line) for line in lines])
    else:
        for line in lines:
            screen.row(*_values(*line))
    return OK


async def _first(
    events: EventClient, campaign: str, subscription: str, limit: int, *, dead: bool
) -> AsyncIterator[pb.Event]:
    state = pb.Delivery.DEAD if dead else pb.Delivery.STATE_UNSPECIFIED
    found = events.list_events(
        campaign_id=campaign, subscription_id=subscription, state=state, page_size=limit
    )
    left = limit or -1
    async for event in found:
        yield event
        left -= 1
        if not left:
            break
    await found.aclose()


def _deliveries(event: pb.Event, subscription: str) -> Sequence[pb.Delivery]:
    """Return the deliveries to a subscription, or all; an empty one if there is none."""
    found = [one for one in event.deliveries if subscription in {"", one.subscription_id}]
    return found or [pb.Delivery()]


def _state(event: pb.Event, delivery: pb.Delivery) -> str:
    if delivery.subscription_id:
        return enum_name(pb.Delivery.State, delivery.state)
    return "" if event.published else "NEW"


def _values(event: pb.Event, delivery: pb.Delivery) -> Sequence[object]:
    """Return the values of a line; new ones come at the end."""
    return (
        event.event_id,
        rfc3339(event, "create_time"),
        event.kind,
        event.campaign_id,
        delivery.subscription_id,
        _state(event, delivery),
        delivery.attempts,
        rfc3339(delivery, "next_time"),
        rfc3339(delivery, "end_time"),
        delivery.answer,
    )


def _cells(event: pb.Event, delivery: pb.Delivery) -> list[str]:
    return [
        event.event_id,
        short_clock(event.create_time),
        short_kind(event.kind),
        event.campaign_id,
        delivery.subscription_id,
        _state(event, delivery),
        str(delivery.attempts) if delivery.subscription_id else "",
        short_clock(delivery.next_time) if delivery.HasField("next_time") else "",
        delivery.answer,
    ]


def replay(
    *,
    subscription_id: SubscriptionId,
    event_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVENT...]",
            help="Which events, whatever became of them. Without any: all dead ones.",
            show_default=False,
        ),
    ] = None,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Deliver events again, with the ids that they had.

    A receiver that keeps ids knows which of them it had already.
    """
    replayed = run(_replay(status_address, subscription_id, event_ids or []))
    if as_json:
        screen.print_json({"subscription_id": subscription_id, "replayed_events": replayed})
    else:
        screen.line(f"{subscription_id}: {number(replayed, 'event')} to be delivered again")
    return OK


async def _replay(address: str, subscription_id: str, event_ids: Sequence[str]) -> int:
    replayed = 0
    async with event_client(address) as events:
        while True:
            answer = await events.replay_events(
                subscription_id=subscription_id, event_ids=event_ids
            )
            replayed += answer.replayed_events
            if not answer.more:
                return replayed


#: By their names below ``closeout events``.
COMMANDS: Final[Mapping[str, Callable[..., int]]] = {
    "list": list_events,
    "replay": replay,
    "subscribe": subscriptions.subscribe,
    "subscriptions": subscriptions.list_subscriptions,
    "unsubscribe": subscriptions.unsubscribe,
}
