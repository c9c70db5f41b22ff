"""``closeout explain`` and ``closeout transitions``: why a campaign is where it is."""

from __future__ import annotations

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import LONG_TIMEOUT_SECONDS, OK, working_long
from closeout_cli.options import CampaignId, Json, StatusAddress, run, status_client
from closeout_cli.result_lines import range_text
from closeout_cli.words import clock, counts, enum_name, span, state_name


def explain(
    *, campaign_id: CampaignId, status_address: StatusAddress = "", as_json: Json = False
) -> int:
    """Say why a campaign is not complete, and what to do."""
    return run(_explain(campaign_id, status_address, as_json=as_json))


async def _explain(campaign_id: str, address: str, *, as_json: bool) -> int:
    async with status_client(address) as status:
        with working_long(address):
            answer = await status.explain_campaign(
                campaign_id=campaign_id, timeout_seconds=LONG_TIMEOUT_SECONDS
            )
    if as_json:
        screen.print_json(answer)
        return OK
    found = answer.diagnosis
    campaign = found.campaign
    lines = [
        ("campaign", f"{campaign.campaign_id} ({campaign.display_name})"),
        ("state", state_name(campaign)),
        ("counts", f"{counts(campaign)} pending={campaign.pending}"),
    ]
    if found.diagnosis:
        lines.append(("diagnosis", enum_name(pb.CampaignDiagnosis.Diagnosis, found.diagnosis)))
        lines.append(("sending for", span(found.sending_duration.ToTimedelta())))
        lines.append(("no news for", span(found.idle_duration.ToTimedelta())))
    if found.last_reporter:
        lines.append(("reported by", found.last_reporter))
    if answer.missing_ranges:
        ranges = ", ".join(range_text(missing) for missing in answer.missing_ranges)
        lines.append(("missing", ranges + (", ..." if answer.more_missing_ranges else "")))
    for name, value in lines:
        screen.line(f"{name:<14} {value}")
    screen.line(answer.explanation)
    return OK


def transitions(
    *, campaign_id: CampaignId, status_address: StatusAddress = "", as_json: Json = False
) -> int:
    """Show the audit trail of a campaign: each change of state, its cause, actor and reason."""
    return run(_transitions(campaign_id, status_address, as_json=as_json))


async def _transitions(campaign_id: str, address: str, *, as_json: bool) -> int:
    async with status_client(address) as status:
        async for transition in status.list_transitions(campaign_id=campaign_id):
            if as_json:
                screen.print_json(transition)
            else:
                screen.line(_line(transition))
    return OK


def _line(transition: pb.Transition) -> str:
    came = (
        enum_name(pb.Campaign.State, transition.from_state) if transition.from_state else "(none)"
    )
    words = [
        clock(transition.create_time),
        f"{came} -> {enum_name(pb.Campaign.State, transition.to_state)}",
        enum_name(pb.Transition.Cause, transition.cause) if transition.cause else "CREATED",
        f"by {transition.actor}" if transition.actor else "",
        f"because {transition.reason!r}" if transition.reason else "",
    ]
    return "  ".join(word for word in words if word)
