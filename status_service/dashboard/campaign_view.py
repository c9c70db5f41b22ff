"""What the page of a campaign shows, finished; pure code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from status_service.campaigns.wording import messages
from status_service.dashboard import formats, states
from status_service.dashboard.bar import LABELS
from status_service.dashboard.chart import Chart, chart
from status_service.dashboard.rows import bar_of, figures
from status_service.dashboard.sender_part import NO_PART
from status_service.dashboard.trail import Step, steps
from status_service.domain import Diagnosis, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from status_service.campaigns.repair import Finding
    from status_service.campaigns.standing import Standing
    from status_service.dashboard.bar import Bar
    from status_service.dashboard.sender_part import SenderPart
    from status_service.domain import Problem
    from status_service.reads.values import CampaignPage, FailureGroup

#: Reasons of failures shown.
_MOST_REASONS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """What a sender says, in its provider's own words, and since when."""

    text: str
    since: datetime | None


class Count(NamedTuple):
    """One of the five counts: its name, label, number, share, and where its results are, if any."""

    name: str
    label: str
    number: str
    share: str
    address: str
    is_zero: bool


class Reason(NamedTuple):
    """Why messages failed.

    Attributes:
        code: the code; empty: the results have none.
        is_rest: all codes that are not named.
        said: what was said about one of them.
        number: how many.
        examples: numbers of some.
        address: where their results are.
    """

    code: str
    is_rest: bool
    said: str
    number: str
    examples: Sequence[str]
    address: str


class Doubt(NamedTuple):
    """A message in doubt: its number, the key of its recipient, the code, what was said."""

    number: str
    key: str
    code: str
    said: str


class Fact(NamedTuple):
    """A line of the facts: its name, a text, a time, and tags."""

    name: str
    text: str = ""
    moment: datetime | None = None
    ago: bool = False
    tags: Sequence[str] = ()


class CampaignView(NamedTuple):
    """The page of a campaign; see the template, which is in the same order."""

    campaign_id: str
    address: str
    name: str
    channel: str
    state: states.Shown
    head: tuple[str, datetime | None]
    is_needy: bool
    kind: str
    sentence: str
    second: str
    action: str
    says: Sequence[Said]
    is_sealed: bool
    progress: str
    text: Mapping[str, str]
    bar: Bar
    counts: Sequence[Count]
    chart: Chart | None
    charted: bool
    failed: str
    reasons: Sequence[Reason]
    more_reasons: str
    doubt: str
    in_doubt: Sequence[Doubt]
    has_keys: bool
    all_doubt: str
    trail: Sequence[Step]
    more_trail: bool
    ranges: Sequence[tuple[str, str]]
    ranges_number: str
    at_provider: str
    facts: Sequence[Fact]
    unasked: str
    revision: int
    version: str


def view_of(page: CampaignPage, sender: SenderPart = NO_PART) -> CampaignView:
    """Return what the page shows.

    Args:
        page: what the status service knows.
        sender: what the sender knows.
    """
    found = page.finding
    campaign, it = found.campaign, found.standing
    sentence, _, second = found.explanation.partition("\n")
    address = f"/campaigns/{campaign.campaign_id}"
    text = figures(campaign, page.pace)
    reasons = [group for group in page.failures if group.outcome is Outcome.FAILED]
    silent = it.diagnosis is Diagnosis.STALLED
    return CampaignView(
        campaign_id=campaign.campaign_id,
        address=address,
        name=formats.clean(campaign.display_name) or campaign.campaign_id,
        channel=formats.clean(campaign.channel),
        state=states.shown(it).short,
        head=_head(found),
        is_needy=it.needs_attention,
        kind=_kind(it),
        sentence=sentence,
        second=second,
        action=found.action,
        says=[_said(one) for one in it.problems if one.detail or one is it.problem],
        is_sealed=campaign.total is not None,
        progress=progress(it),
        text=text,
        bar=bar_of(campaign),
        counts=_counts(text, address if campaign.results_remove_time is None else ""),
        chart=chart(page.samples, silent_since=campaign.progress_time if silent else None),
        charted=campaign.start_time is not None,
        failed=_failed(it.counters.failed, reasons),
        reasons=[_reason(one, address) for one in reasons[:_MOST_REASONS]],
        more_reasons=_more_reasons(len(reasons) - _MOST_REASONS),
        doubt=f"{formats.whole(it.counters.unknown)} in doubt",
        in_doubt=[
            Doubt(
                formats.whole(row.sequence),
                sender.keys.get(row.sequence, ""),
                formats.clean(row.code),
                formats.clean(row.detail),
            )
            for row in page.in_doubt
        ],
        has_keys=any(sender.keys.values()),
        all_doubt=f"All {formats.whole(it.counters.unknown)}",
        trail=steps(page.transitions, found.now),
        more_trail=page.more_transitions,
        ranges=[
            (formats.number_range(first, last), formats.whole(last - first + 1))
            for first, last in page.missing_ranges
        ],
        ranges_number=""
        if page.more_missing_ranges
        else formats.counted(len(page.missing_ranges), "range"),
        at_provider=sender.at_provider,
        facts=_facts(found, sender),
        unasked=sender.note,
        revision=campaign.revision,
        version=version_of(found),
    )


def version_of(found: Finding) -> str:
    """Return what is another text when the page reads differently, not only its figures."""
    it = found.standing
    problem = it.problem.summary if it.problem else ""
    return f"{it.state}/{it.diagnosis}/{len(it.problems)}/{problem}"


def progress(it: Standing) -> str:
    """Return how many messages have a result, in a sentence."""
    if it.total is None:
        return "Not sealed yet: recipients are being collected"
    if it.state is State.SCHEDULED:
        return f"{messages(it.of)} wait for the start"
    processed = it.counters.processed
    if processed == it.total:
        return (
            f"All {messages(it.of)} have a result" if it.total != 1 else "The message has a result"
        )
    have = formats.plural(processed, "has", "have")
    return f"{formats.whole(processed)} of {messages(it.of)} {have} a result"


def _kind(it: Standing) -> str:
    if it.needs_attention:
        return "attention"
    if it.diagnosis is not None and it.diagnosis.is_defect:
        return "accent"
    return "good" if it.state is State.COMPLETED else ""


def _head(found: Finding) -> tuple[str, datetime | None]:
    """Return the last words of the head, and a time that follows them."""
    row = found.campaign
    if row.complete_time and row.start_time:
        return f"took {formats.span(row.complete_time - row.start_time)}", None
    if row.start_time:
        return "started", row.start_time
    return "registered", row.create_time


def _said(problem: Problem) -> Said:
    since = problem.since_time
    return Said(
        formats.clean(problem.detail or problem.summary),
        None if since is None else _EPOCH + timedelta(microseconds=since),
    )


def _counts(text: Mapping[str, str], address: str) -> list[Count]:
    """Return the counts; without an ``address`` they lead nowhere."""
    places = {name: f"results?outcome={name}" for name in LABELS} | {"pending": "missing"}
    return [
        Count(
            name,
            label,
            text[name],
            text[f"{name}-share"],
            f"{address}/{places[name]}" if address else "",
            text[name] == "0",
        )
        for name, label in LABELS.items()
    ]


def _failed(number: int, groups: Sequence[FailureGroup]) -> str:
    if not groups:
        return f"{formats.whole(number)} failed"
    if any(group.is_rest for group in groups):
        return f"{formats.whole(number)} failed, for more than {len(groups) - 1} reasons"
    return f"{formats.whole(number)} failed, for {formats.counted(len(groups), 'reason')}"


def _more_reasons(number: int) -> str:
    if number <= 0:
        return ""
    return f"and {formats.whole(number)} other {formats.plural(number, 'reason')}"


def _reason(group: FailureGroup, address: str) -> Reason:
    _, code, is_rest, count, detail, examples = group
    query = {"outcome": "failed"} if is_rest or not code else {"outcome": "failed", "code": code}
    return Reason(
        code=formats.clean(code),
        is_rest=is_rest,
        said=formats.clean(detail),
        number=formats.whole(count),
        examples=[formats.whole(number) for number in examples],
        address=f"{address}/results?{urlencode(query)}",
    )


def _facts(found: Finding, sender: SenderPart) -> list[Fact]:
    row = found.campaign
    labels = [f"{name}={value}" for name, value in json.loads(row.labels).items()]
    facts = [
        Fact("Results removed", moment=row.results_remove_time),
        Fact("Last result", moment=row.progress_time, ago=True),
        Fact("Reported by", formats.clean(row.last_reporter)),
        Fact("Guarantee", sender.guarantee),
        Fact("In doubt", sender.in_doubt),
        Fact("Not reported", sender.unreported),
        Fact("Completed" if row.state == State.COMPLETED else "Ended", moment=row.complete_time),
        Fact("Started", moment=row.start_time),
        Fact("Scheduled for", moment=row.schedule_time),
        Fact("Registered", moment=row.create_time),
        Fact("Resend of", sender.resend_of),
        Fact("Labels", tags=[formats.clean(label) for label in labels]),
    ]
    return [fact for fact in facts if fact.text or fact.moment or fact.tags]
