"""``closeout status``: how a campaign stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.errors import DeadlineExceededError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import OK
from closeout_cli.options import CampaignId, Json, SenderAddress, StatusAddress, run, status_client
from closeout_cli.problems import all_problems, delivery_of, problem_facts, what_to_do
from closeout_cli.words import (
    ago,
    clock,
    counts,
    labels_text,
    number,
    processed,
    standing,
    state_name,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from closeout.aio import StatusClient

#: States in which the status service diagnoses a campaign.
_DIAGNOSED = (pb.Campaign.SENDING, pb.Campaign.PAUSED)
#: How long the status service may take to say what to do, seconds.
_TIMEOUT_SECONDS = 3.0
_PHASES = {
    sender_pb2.GetDeliveryResponse.COLLECTING: "collecting recipients",
    sender_pb2.GetDeliveryResponse.FROZEN: "waits for the status service to start it",
    sender_pb2.GetDeliveryResponse.STARTED: "at work",
    sender_pb2.GetDeliveryResponse.FINISHED: "finished, everything is reported",
}


def status(
    *,
    campaign_id: CampaignId,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Show how a campaign stands, and what it waits for."""
    return run(_status(campaign_id, status_address, sender_address, as_json=as_json))


async def _status(
    campaign_id: str, status_address: str, sender_address: str, *, as_json: bool
) -> int:
    async with status_client(status_address) as client:
        campaign = await client.get_campaign(campaign_id=campaign_id)
        diagnosis = await _diagnosis(client, campaign)
    delivery, trouble = await delivery_of(campaign_id, sender_address)
    problems = all_problems(campaign, delivery)
    action = what_to_do(diagnosis, problems)
    if as_json:
        screen.print_json(
            {
                "campaign": screen.as_dict(campaign),
                "delivery": screen.as_dict(delivery) if delivery else None,
                "delivery_error": trouble,
                "action": action,
            }
        )
        return OK
    screen.facts(_campaign_facts(campaign))
    screen.facts([("delivery", _delivery_text(delivery, campaign) if delivery else trouble)])
    screen.facts(problem_facts(problems))
    screen.facts([("what to do", action)])
    return OK


async def _diagnosis(client: StatusClient, campaign: pb.Campaign) -> pb.CampaignDiagnosis | None:
    """Return what the status service finds about a campaign that is open; None: nothing."""
    if campaign.state not in _DIAGNOSED:
        return None
    try:
        found = await client.repair_campaigns(
            campaign_id=campaign.campaign_id, dry_run=True, timeout_seconds=_TIMEOUT_SECONDS
        )
    except DeadlineExceededError:
        text = f"`closeout explain {campaign.campaign_id}` says it; that takes long just now."
        return pb.CampaignDiagnosis(action=text)
    return next(iter(found.diagnoses), None)


def _campaign_facts(campaign: pb.Campaign) -> Iterator[tuple[str, str]]:
    yield "campaign", campaign.campaign_id
    yield "name", campaign.display_name
    yield "channel", campaign.channel
    yield "labels", labels_text(campaign)
    note = standing(campaign)
    yield "state", f"{state_name(campaign)}{f' ({note})' if note else ''}"
    yield "revision", str(campaign.revision)
    if campaign.sealed:
        yield "processed", processed(campaign)
        yield "counts", f"{counts(campaign)} pending={campaign.pending}"
    for name in ("create", "schedule", "start", "progress", "complete"):
        if campaign.HasField(f"{name}_time"):  # type: ignore[arg-type] # names of fields
            time = getattr(campaign, f"{name}_time")
            when = until(time) if name == "schedule" and not campaign.start_time.seconds else ""
            yield f"{name} time", f"{clock(time)} ({when or ago(time)})"
    if campaign.HasField("results_remove_time"):
        time = campaign.results_remove_time
        yield "results", f"not kept since {clock(time)} ({ago(time)}); the counters stay"


def _delivery_text(delivery: sender_pb2.GetDeliveryResponse, campaign: pb.Campaign) -> str:
    phase = _PHASES.get(delivery.phase, str(delivery.phase))
    if (
        delivery.phase == sender_pb2.GetDeliveryResponse.STARTED
        and campaign.state != pb.Campaign.SENDING
    ):
        phase = "ready"
    parts = [
        phase,
        f"{delivery.finished:,} of {number(delivery.total, 'message')} finished",
        *(
            f"{count:,} {text}"
            for count, text in (
                (delivery.in_doubt, "under way"),
                (delivery.deferred, "waiting for another try"),
                (delivery.unreported, "not reported yet"),
            )
            if count
        ),
    ]
    return ", ".join(parts)
