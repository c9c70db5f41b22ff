"""``closeout explain`` and ``closeout transitions``: why a campaign is where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import LONG_TIMEOUT_SECONDS, NEEDS_A_PERSON, OK, working_long
from closeout_cli.options import CampaignId, Json, SenderAddress, StatusAddress, run, status_client
from closeout_cli.problems import all_problems, delivery_of, problem_facts, what_to_do
from closeout_cli.result_lines import range_text
from closeout_cli.tables import Column
from closeout_cli.words import (
    counts,
    enum_name,
    rfc3339,
    short_clock,
    span,
    state_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OPEN = (pb.Campaign.SENDING, pb.Campaign.PAUSED, pb.Campaign.SCHEDULED, pb.Campaign.DRAFT)
#: What a terminal shows. docs/command-line.md lists the order in which columns go.
_COLUMNS = (
    Column("Time"),
    Column("From"),
    Column("To"),
    Column("Cause", drop=2),
    Column("By", drop=1),
    Column("Caller", drop=3),
    Column("Reason", shrink=True, below=True),
)


def explain(
    *,
    campaign_id: CampaignId,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Say why a campaign is not complete, and what to do.

    Exit code 3 when it needs attention: without a person it does not go on.
    """
    return run(_explain(campaign_id, status_address, sender_address, as_json=as_json))


async def _explain(
    campaign_id: str, status_address: str, sender_address: str, *, as_json: bool
) -> int:
    async with status_client(status_address) as status:
        with working_long(status_address):
            answer = await status.explain_campaign(
                campaign_id=campaign_id, timeout_seconds=LONG_TIMEOUT_SECONDS
            )
    campaign = answer.diagnosis.campaign
    problems = list(campaign.problems)
    if not problems and campaign.state in _OPEN:
        delivery, _ = await delivery_of(campaign_id, sender_address)
        problems = all_problems(campaign, delivery)
    if as_json:
        found = [screen.as_dict(problem) for problem in problems]
        screen.print_json({**screen.as_dict(answer), "problems": found})
    else:
        screen.facts(_facts(answer))
        screen.facts(problem_facts(problems))
        for text in answer.explanation.splitlines():
            screen.paragraph(text)
        action = what_to_do(answer.diagnosis, problems)
        if action not in answer.explanation:
            screen.paragraph(action)
    attention = any(problem.needs_attention for problem in problems)
    return NEEDS_A_PERSON if attention or answer.diagnosis.needs_attention else OK


def _facts(answer: pb.ExplainCampaignResponse) -> Iterator[tuple[str, str]]:
    found = answer.diagnosis
    campaign = found.campaign
    yield "campaign", campaign.campaign_id
    yield "name", campaign.display_name
    yield "state", state_name(campaign)
    if campaign.sealed:
        yield "counts", f"{counts(campaign)} pending={campaign.pending}"
    if found.diagnosis:
        yield "diagnosis", enum_name(pb.CampaignDiagnosis.Diagnosis, found.diagnosis)
        yield "sending for", span(found.sending_duration.ToTimedelta())
        yield "no news for", span(found.idle_duration.ToTimedelta())
    yield "reported by", found.last_reporter
    ranges = ", ".join(range_text(missing) for missing in answer.missing_ranges)
    yield "missing", ranges + (", ..." if answer.more_missing_ranges else "")


def transitions(
    *, campaign_id: CampaignId, status_address: StatusAddress = "", as_json: Json = False
) -> int:
    """Show the audit trail of a campaign.

    Each change of state has its time, its cause, who made it, and the reason given.

    In a pipe or a file, each is one line with tabs between its values: time, state
    before, state after, cause, actor, on whose behalf, reason.
    """
    return run(_transitions(campaign_id, status_address, as_json=as_json))


async def _transitions(campaign_id: str, address: str, *, as_json: bool) -> int:
    async with status_client(address) as status:
        trail = status.list_transitions(campaign_id=campaign_id)
        found = [transition async for transition in trail]
    if as_json:
        for transition in found:
            screen.print_json(transition)
    elif screen.on_terminal():
        screen.show_table(_COLUMNS, [_cells(transition) for transition in found])
    else:
        for transition in found:
            screen.row(rfc3339(transition, "create_time"), *_values(transition))
    return OK


def _values(transition: pb.Transition) -> Sequence[str]:
    """Return the values of a line after its time; new ones come at the end."""
    came = enum_name(pb.Campaign.State, transition.from_state) if transition.from_state else ""
    cause = enum_name(pb.Transition.Cause, transition.cause) if transition.cause else "CREATED"
    return (
        came,
        enum_name(pb.Campaign.State, transition.to_state),
        cause,
        transition.actor,
        transition.on_behalf_of,
        transition.reason,
    )


def _cells(transition: pb.Transition) -> list[str]:
    came, to, cause, actor, on_behalf_of, reason = _values(transition)
    time = short_clock(transition.create_time)
    who = on_behalf_of or actor
    return [time, came, to, cause, who, actor if on_behalf_of else "", reason]
