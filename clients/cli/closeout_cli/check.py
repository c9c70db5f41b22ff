"""``closeout check``: does a campaign stand, in the manner of monitoring plugins."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from closeout.errors import ClientError
from closeout.times import to_datetime
from closeout_cli import words
from closeout_cli.options import Json, StatusAddress, run, status_client
from closeout_cli.plugin import Measured, Report, Status, answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from closeout.aio import StatusClient
    from closeout.status.v1 import status_pb2 as pb

#: As many campaigns are looked at, those that stand longest: a check must be cheap.
LOOKED_AT = 200
#: Deadline of each call, seconds; both together less than monitoring systems give a plugin.
_TIMEOUT_SECONDS = 4.0


def check(
    *,
    stalled_for: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="CRITICAL when a campaign that is sending has no new result for longer than"
            " this, as in 90s, 5m, 2h.",
        ),
    ] = "5m",
    status_address: StatusAddress = "",
    as_json: Json = False,  # noqa: ARG001 - what prints knows it
) -> int:
    """Check whether a campaign stands, for Nagios, Icinga, Checkmk or Zabbix.

    It prints one line in the manner of monitoring plugins, with performance data after
    a bar. The campaign that stands longest is named, with what holds it up. A paused
    campaign is no problem, and neither is a slow one. It looks at the 200 campaigns that
    stand longest.

    Its exit codes are those of monitoring plugins: 0 OK; 1 WARNING, a campaign has a
    problem that only a person can solve; 2 CRITICAL, a campaign stands for too long;
    3 UNKNOWN, the service does not answer, or the command line is wrong.
    """
    try:
        threshold = words.parse_span(stalled_for)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return answer(run(_check(status_address, threshold)))


async def _check(address: str, threshold: timedelta) -> Report:
    async with status_client(address) as status:
        page = await status.longest_standing(page_size=LOOKED_AT, timeout_seconds=_TIMEOUT_SECONDS)
        # The clock of the service counts, not that of this machine.
        now = to_datetime(page.read_time) if page.HasField("read_time") else words.now()
        found = sorted(page.campaigns, key=_progress_time)
        if not found:
            return _report(found, 0, timedelta(), threshold, "no campaign is sending")
        idle = now - _progress_time(found[0])
        stalled = sum(now - _progress_time(one) > threshold for one in found)
        text = await _why(status, found[0]) if stalled else _of_needy(found, idle)
    return _report(found, stalled, idle, threshold, text)


async def _why(status: StatusClient, campaign: pb.Campaign) -> str:
    """Return why a campaign stands and what to do, as the service says it."""
    name = campaign.campaign_id
    try:
        explained = await status.explain_campaign(
            campaign_id=name, timeout_seconds=_TIMEOUT_SECONDS
        )
    except ClientError:
        # It counts the results, which may take too long. That a campaign stands is known.
        done = words.processed(campaign)
        return f"{name}: {done} have a result. See closeout explain {name}"
    text = words.sentence(explained.diagnosis, explained.explanation)
    return f"{name}: {text} See closeout explain {name}"


def _progress_time(campaign: pb.Campaign) -> datetime:
    field = "progress_time" if campaign.HasField("progress_time") else "start_time"
    return to_datetime(getattr(campaign, field))


def _needy(campaigns: Sequence[pb.Campaign]) -> list[pb.Campaign]:
    return [
        campaign
        for campaign in campaigns
        if any(problem.needs_attention for problem in campaign.problems)
    ]


def _of_needy(campaigns: Sequence[pb.Campaign], idle: timedelta) -> str:
    needy = _needy(campaigns)
    longest = f"the longest without a new result for {words.span(idle)}"
    if not needy:
        return f"{_number(len(campaigns))} sending, {longest}: {campaigns[0].campaign_id}"
    first = needy[0]
    problem = words.problem_text(first.problems[0])
    return f"{first.campaign_id}: {problem}. See closeout explain {first.campaign_id}"


def _number(count: int) -> str:
    more = " or more" if count == LOOKED_AT else ""
    verb = "campaign is" if count == 1 else "campaigns are"
    return f"{count}{more} {verb}"


def _report(
    found: Sequence[pb.Campaign],
    stalled: int,
    idle: timedelta,
    threshold: timedelta,
    text: str,
) -> Report:
    needy = len(_needy(found))
    status, before = Status.OK, ""
    if stalled:
        status = Status.CRITICAL
        verb = "campaign stands" if stalled == 1 else "campaigns stand"
        more = " or more" if stalled == LOOKED_AT else ""
        before = f"{stalled}{more} {verb} longer than {words.span(threshold).removesuffix(' 0s')}; "
    elif needy:
        status = Status.WARNING
        verb = "campaign needs" if needy == 1 else "campaigns need"
        before = f"{needy} {verb} attention; "
    seconds = int(idle.total_seconds())
    return Report(
        status,
        before + text,
        (
            Measured("stalled", stalled, critical=0),
            Measured("attention", needy, warning=0),
            Measured("sending", len(found)),
            Measured("standing", seconds, "s", critical=int(threshold.total_seconds())),
        ),
        {"campaign_id": found[0].campaign_id if found else ""},
    )
