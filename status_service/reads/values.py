"""What pages and lists show, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from service_runtime.pages import Page
    from status_service.campaigns.repair import Finding
    from status_service.domain import Outcome
    from status_service.reads.pace import Pace, Sample


class FailureGroup(NamedTuple):
    """Results of one outcome with one code.

    Attributes:
        outcome: UNKNOWN, SKIPPED or FAILED.
        code: the code; empty where the results have none, and for the rest.
        is_rest: the results of all codes that have no group; at most one an outcome.
        number: how many results there are; at least 1.
        detail: what was said about one of them.
        examples: the sequences of at most three of them.
    """

    outcome: Outcome
    code: str
    is_rest: bool
    number: int
    detail: str
    examples: Sequence[int]


@dataclass(frozen=True, slots=True)
class Overview:
    """A page of campaigns, and those that need a person, as of one moment.

    Attributes:
        page: the campaigns, rows of ``campaigns``, and the token of the next page.
        paces: the pace of each campaign of the page and of ``needy``, by its number
            (``row.campaign``).
        needy: those that need a person, longest without a new result first; at most 10.
            Judged from their rows alone, so a counter that was changed by hand is believed.
        needy_campaigns: how many there are.
        other_open_campaigns: how many others are SENDING or PAUSED.
        now: the database's time.
    """

    page: Page
    paces: Mapping[int, Pace]
    needy: Sequence[Finding]
    needy_campaigns: int
    other_open_campaigns: int
    now: datetime


@dataclass(frozen=True, slots=True)
class CampaignPage:
    """All that the page of one campaign shows, as of one moment.

    Attributes:
        finding: how it stands, judged from its row alone; ``finding.now`` is the moment.
        pace: its rate and the time left.
        samples: its counters over time, oldest first; at most 240 and the present one.
        failures: by outcome and code: FAILED first, then UNKNOWN and SKIPPED, the largest
            first and the rest last.
        missing_ranges: (first, last) of the first ranges without a result; at most 20.
        more_missing_ranges: there are more.
        in_doubt: some results that are UNKNOWN, rows of ``results``; at most 5, in order.
        transitions: the last ones, newest first; at most 20.
        more_transitions: there are more.
    """

    finding: Finding
    pace: Pace
    samples: Sequence[Sample]
    failures: Sequence[FailureGroup]
    missing_ranges: Sequence[tuple[int, int]]
    more_missing_ranges: bool
    in_doubt: Sequence[sa.Row[Any]]
    transitions: Sequence[sa.Row[Any]]
    more_transitions: bool
