"""``closeout list``: the campaigns, and those that are stuck with the reason."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closeout.errors import DeadlineExceededError
from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import OK, say
from closeout_cli.options import Json, StatusAddress, run, status_client
from closeout_cli.tables import Column
from closeout_cli.words import (
    ago,
    enum_name,
    parse_label,
    percent,
    rfc3339,
    sentence,
    short_problem,
    standing,
    state_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from closeout.aio import StatusClient

_OPEN = (pb.Campaign.SENDING, pb.Campaign.PAUSED)
#: How long ``list --stuck`` waits for what each campaign waits for, seconds.
_SCAN_SECONDS = 20.0
#: What a terminal shows. docs/command-line.md lists the order in which columns go.
_COLUMNS = (
    Column("Campaign"),
    Column("State"),
    Column("Progress", right=True),
    Column("%", right=True, drop=3),
    Column("Failed", right=True, drop=1),
    Column("Unknown", right=True, drop=2),
    Column("Skipped", right=True, drop=7),
    Column("Last result", right=True, drop=4),
    Column("Name", drop=5, shrink=True),
    Column("Note", drop=6),
    Column("Channel", drop=8),
)


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
        typer.Option(
            "--stuck",
            help="Only open campaigns, longest without progress first, with what each waits for.",
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, help="Maximum number to list (0 = all).")
    ] = 50,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """List campaigns, newest first.

    In a pipe or a file, each campaign is one line with tabs between its values: id,
    state, total, processed, sent, failed, skipped, unknown, channel, create, schedule,
    start, progress and complete time, name, needs_attention or empty, what it waits for.
    """
    states = [pb.Campaign.State.Value(name.upper()) for name in state or ()]
    labels = _labels(label or ())
    return run(
        _list(
            status_address,
            states=states or (list(_OPEN) if stuck else []),
            labels=labels,
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
        reasons = await _reasons(status) if stuck and found else {}
    if as_json:
        _print_json(found, reasons, stuck=stuck)
    elif screen.on_terminal():
        _print_table(found, reasons, filtered=bool(states or labels), stuck=stuck)
        if more:
            screen.line("There are more; --limit 0 shows all.")
    else:
        for campaign in found:
            screen.row(*_values(campaign, reasons.get(campaign.campaign_id)))
    return OK


async def _reasons(status: StatusClient) -> dict[str, pb.CampaignDiagnosis]:
    """Return what is the matter with each open campaign, by id; changes nothing.

    The service counts results for that. Where this takes too long, the list comes without.
    """
    try:
        found = await status.repair_campaigns(dry_run=True, timeout_seconds=_SCAN_SECONDS)
    except DeadlineExceededError:
        say(
            f"the status service did not say within {_SCAN_SECONDS:.0f} s what these campaigns"
            " wait for; `closeout explain ID` asks about one"
        )
        return {}
    return {diagnosis.campaign.campaign_id: diagnosis for diagnosis in found.diagnoses}


def _print_json(
    campaigns: Sequence[pb.Campaign],
    reasons: Mapping[str, pb.CampaignDiagnosis],
    *,
    stuck: bool,
) -> None:
    for campaign in campaigns:
        values = screen.as_dict(campaign)
        if stuck:
            reason = reasons.get(campaign.campaign_id, pb.CampaignDiagnosis())
            values["diagnosis"] = enum_name(pb.CampaignDiagnosis.Diagnosis, reason.diagnosis)
            values["explanation"] = sentence(reason)
            values["needs_attention"] = reason.needs_attention
        screen.print_json(values)


def _values(campaign: pb.Campaign, reason: pb.CampaignDiagnosis | None) -> list[Any]:
    """Return the values of a line for programs; new ones come at the end."""
    attention = any(problem.needs_attention for problem in campaign.problems)
    if reason is not None:
        attention = attention or reason.needs_attention
    explained = sentence(reason) if reason is not None else ""
    return [
        campaign.campaign_id,
        state_name(campaign),
        campaign.total if campaign.sealed else None,
        campaign.processed,
        campaign.sent,
        campaign.failed,
        campaign.skipped,
        campaign.unknown,
        campaign.channel,
        *(rfc3339(campaign, f"{name}_time") for name in _TIMES),
        campaign.display_name,
        "needs_attention" if attention else "",
        explained or "; ".join(problem.summary for problem in campaign.problems),
    ]


_TIMES = ("create", "schedule", "start", "progress", "complete")


def _print_table(
    campaigns: Sequence[pb.Campaign],
    reasons: Mapping[str, pb.CampaignDiagnosis],
    *,
    filtered: bool,
    stuck: bool,
) -> None:
    if not campaigns:
        screen.line(_nothing(filtered=filtered, stuck=stuck))
        return
    table = screen.TableWriter(_COLUMNS, [_cells(campaign) for campaign in campaigns])
    for campaign in campaigns:
        table.write([_cells(campaign)])
        reason = reasons.get(campaign.campaign_id)
        if reason is not None:
            screen.paragraph(sentence(reason), indent=2)
        elif campaign.problems:
            screen.paragraph(short_problem(campaign.problems[0]), indent=2)


def _nothing(*, filtered: bool, stuck: bool) -> str:
    if stuck:
        return "No campaign is open."
    if filtered:
        return "No campaign is like that; `closeout list` shows all."
    return "No campaigns yet. Send one: closeout send CAMPAIGN.toml --recipients FILE.csv"


def _cells(campaign: pb.Campaign) -> list[str]:
    sealed = campaign.sealed
    running = campaign.state in _OPEN and campaign.HasField("progress_time")
    return [
        campaign.campaign_id,
        state_name(campaign),
        f"{campaign.processed:,} of {campaign.total:,}" if sealed else "",
        percent(campaign.processed, campaign.total) if sealed else "",
        f"{campaign.failed:,}" if sealed else "",
        f"{campaign.unknown:,}" if sealed else "",
        f"{campaign.skipped:,}" if sealed else "",
        ago(campaign.progress_time) if running else "",
        campaign.display_name,
        standing(campaign),
        campaign.channel,
    ]
