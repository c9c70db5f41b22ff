"""A campaign as a row of a list, finished, and what of it changes while it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from status_service.dashboard import formats, states
from status_service.dashboard.bar import Bar, bar
from status_service.recording.types import counters_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import sqlalchemy as sa

    from status_service.campaigns.repair import Finding
    from status_service.domain import Counters
    from status_service.reads.pace import Pace


class Row(NamedTuple):
    """A campaign in a list.

    Attributes:
        campaign_id: its id.
        name: the name people know it by, or its id.
        channel: the channel; empty: none is named.
        state: its state.
        sentence: how it stands, of one that needs a person; else empty.
        total: the sealed number; None until it is sealed.
        has_results: its bar and figures say something.
        text: figures by field, as the script finds them.
        bar: what became of its messages.
        progress_time: when its last new result came.
        revision: of the row; what is older is dropped.
    """

    campaign_id: str
    name: str
    channel: str
    state: states.Shown
    sentence: str
    total: int | None
    has_results: bool
    text: Mapping[str, str]
    bar: Bar
    progress_time: datetime | None
    revision: int


def row_of(found: Finding, pace: Pace | None) -> Row:
    """Return a campaign as a row.

    Args:
        found: how it stands, judged from its row.
        pace: how fast it goes; None: not known.
    """
    campaign = found.campaign
    standing = found.standing
    return Row(
        campaign_id=campaign.campaign_id,
        name=formats.clean(campaign.display_name) or campaign.campaign_id,
        channel=formats.clean(campaign.channel),
        state=states.shown(standing),
        sentence=found.explanation.partition("\n")[0] if found.needs_attention else "",
        total=campaign.total,
        has_results=campaign.total is not None and campaign.start_time is not None,
        text=figures(campaign, pace),
        bar=bar_of(campaign),
        progress_time=campaign.progress_time,
        revision=campaign.revision,
    )


def figures(campaign: sa.Row[Any], pace: Pace | None) -> dict[str, str]:
    """Return the figures of a campaign by field: of the list, and of its page."""
    counters = counters_of(campaign)
    total = campaign.total or 0
    left = pace.time_left if pace else None
    counts = _by_outcome(counters, total)
    return {
        "done": f"{formats.whole(counters.processed)} of {formats.whole(total)}",
        "share": formats.share_of_results(counters.processed, campaign.total),
        "rate": formats.rate(pace.results_per_minute if pace else None),
        "left": "" if left is None else formats.span(left),
        **{name: formats.whole(count) for name, count in counts.items()},
        **{
            f"{name}-share": formats.share_of_outcome(count, total)
            for name, count in counts.items()
        },
    }


def bar_of(campaign: sa.Row[Any]) -> Bar:
    """Return the bar of a campaign."""
    counters = counters_of(campaign)
    return bar(
        campaign.total or 0,
        sent=counters.sent,
        failed=counters.failed,
        skipped=counters.skipped,
        unknown=counters.unknown,
    )


def _by_outcome(counters: Counters, total: int) -> dict[str, int]:
    return {
        "sent": counters.sent,
        "failed": counters.failed,
        "skipped": counters.skipped,
        "unknown": counters.unknown,
        "pending": max(0, total - counters.processed),
    }
