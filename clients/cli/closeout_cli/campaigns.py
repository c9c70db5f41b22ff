"""``closeout list`` and ``closeout status``: how campaigns stand."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closeout.aio import SenderClient
from closeout.errors import ClientError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import OK, sender_trouble
from closeout_cli.options import CampaignId, Json, SenderAddress, StatusAddress, run, status_client
from closeout_cli.words import (
    ago,
    clock,
    counts,
    enum_name,
    labels_text,
    parse_label,
    percent,
    processed,
    state_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OPEN = (pb.Campaign.SENDING, pb.Campaign.PAUSED)


class State(enum.StrEnum):
    """The states as the command line names them."""

    draft = "draft"
    scheduled = "scheduled"
    sending = "sending"
    paused = "paused"
    completed = "completed"
    cancelled = "cancelled"


def list_campaigns(
    *,
    state: Annotated[
        list[State] | None,
        typer.Option(help="Only this state; may be given several times.", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only with this label; may be given several times.",
            show_default=False,
        ),
    ] = None,
    stuck: Annotated[
        bool,
        typer.Option("--stuck", help="Only open campaigns, longest without progress first."),
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 50,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """List campaigns, newest first."""
    states = [pb.Campaign.State.Value(name.upper()) for name in state or ()]
    return run(
        _list(
            status_address,
            states=states or (list(_OPEN) if stuck else []),
            labels=_labels(label or ()),
            stuck=stuck,
            limit=limit,
            as_json=as_json,
        )
    )


def _labels(words: Iterable[str]) -> dict[str, str]:
    try:
        return dict(parse_label(word) for word in words)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


async def _list(
    address: str,
    *,
    states: list[pb.Campaign.State.ValueType],
    labels: dict[str, str],
    stuck: bool,
    limit: int,
    as_json: bool,
) -> int:
    found: list[pb.Campaign] = []
    more = False
    async with status_client(address) as status:
        campaigns = status.list_campaigns(
            states=states,
            labels=labels,
            stuck_first=stuck,
            page_size=min(limit + 1, 1000) if limit else 1000,
        )
        async for campaign in campaigns:
            if limit and len(found) == limit:
                more = True
                break
            found.append(campaign)
        await campaigns.aclose()
    if as_json:
        for campaign in found:
            screen.print_json(campaign)
    elif screen.on_terminal():
        screen.show(_table(found) if found else "no campaigns")
        if more:
            screen.line("there are more; --limit 0 shows all")
    else:
        for campaign in found:
            screen.line(summary(campaign))
    return OK


def summary(campaign: pb.Campaign) -> str:
    """Return a campaign on one plain line: id, state, counters, last progress, name."""
    done = percent(campaign.processed, campaign.total) if campaign.sealed else "-"
    progress = f" progress={_last_progress(campaign)!r}" if campaign.sealed else ""
    return (
        f"{campaign.campaign_id} {state_name(campaign)} {counts(campaign)}"
        f" processed={campaign.processed} ({done}){progress} name={campaign.display_name!r}"
    )


def _last_progress(campaign: pb.Campaign) -> str:
    return ago(campaign.progress_time) if campaign.HasField("progress_time") else "never"


def _table(campaigns: list[pb.Campaign]) -> Any:
    table = screen.table(
        ("Campaign", "left"),
        ("State", "left"),
        ("Processed", "right"),
        ("Sent", "right"),
        ("Failed", "right"),
        ("Skipped", "right"),
        ("Unknown", "right"),
        ("Idle", "right"),
    )
    for campaign in campaigns:
        table.add_row(
            screen.titled(campaign),
            screen.styled(state_name(campaign)),
            processed(campaign).replace(" (", "\n("),
            str(campaign.sent),
            str(campaign.failed),
            str(campaign.skipped),
            str(campaign.unknown),
            _last_progress(campaign).removesuffix(" ago"),
        )
    return table


def status(
    *,
    campaign_id: CampaignId,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Show how a campaign stands, and what its delivery waits for."""
    return run(_status(campaign_id, status_address, sender_address, as_json=as_json))


async def _status(
    campaign_id: str, status_address: str, sender_address: str, *, as_json: bool
) -> int:
    async with status_client(status_address) as client:
        campaign = await client.get_campaign(campaign_id=campaign_id)
    delivery, trouble = await _delivery(campaign_id, sender_address)
    if as_json:
        screen.print_json(
            {
                "campaign": screen.as_dict(campaign),
                "delivery": screen.as_dict(delivery) if delivery else None,
                "delivery_error": trouble,
            }
        )
        return OK
    for name, value in [*_campaign_lines(campaign), *_delivery_lines(delivery, trouble)]:
        if value:
            screen.line(f"{name:<14} {value}")
    return OK


async def _delivery(
    campaign_id: str, address: str
) -> tuple[sender_pb2.GetDeliveryResponse | None, str]:
    """Return the sender's answer, or why there is none, which is no failure."""
    async with SenderClient(address) as sender:
        try:
            return await sender.get_delivery(campaign_id=campaign_id), ""
        except ClientError as error:
            return None, sender_trouble(error, address)


def _campaign_lines(campaign: pb.Campaign) -> Iterator[tuple[str, str]]:
    yield "campaign", campaign.campaign_id
    yield "name", campaign.display_name
    yield "channel", campaign.channel
    yield "labels", labels_text(campaign)
    yield "state", f"{state_name(campaign)} (revision {campaign.revision})"
    if campaign.sealed:
        yield "processed", processed(campaign)
        yield "counts", f"{counts(campaign)} pending={campaign.pending}"
    for name in ("create", "schedule", "start", "progress", "complete"):
        if campaign.HasField(f"{name}_time"):  # type: ignore[arg-type] # names of fields
            time = getattr(campaign, f"{name}_time")
            when = clock(time) if name == "schedule" else f"{clock(time)} ({ago(time)})"
            yield f"{name} time", when


def _delivery_lines(
    delivery: sender_pb2.GetDeliveryResponse | None, trouble: str
) -> Iterator[tuple[str, str]]:
    if delivery is None:
        yield "delivery", trouble
        return
    phase = enum_name(sender_pb2.GetDeliveryResponse.Phase, delivery.phase)
    text = (
        f"{phase}, {delivery.finished} of {delivery.total} messages finished,"
        f" {delivery.in_doubt} in doubt, {delivery.deferred} waiting for another try,"
        f" {delivery.unreported} not reported yet"
    )
    yield "delivery", text
    if delivery.shards:
        finished, leased = delivery.finished_shards, delivery.leased_shards
        yield "shards", f"{finished} of {delivery.shards} finished, {leased} at work"
    for problem in delivery.problems:
        kind = enum_name(pb.Problem.Kind, problem.kind)
        since = f", since {ago(problem.since_time)}" if problem.HasField("since_time") else ""
        person = ", needs a person" if problem.needs_attention else ""
        yield "problem", f"{problem.summary} ({kind}{since}{person})"
        yield "  detail", problem.detail
        yield "  setting", problem.setting
