"""Reads: one campaign, lists in pages, the audit trail.

Every function works on a snapshot its caller holds, and sees the campaigns of one
organisation only. How pages work is in :mod:`service_runtime.pages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service_runtime.pages import Page
from status_service.domain import OPEN, State
from status_service.reads import some_results
from status_service.recording import deleted, gaps, lookup
from status_service.schema import campaign_labels, campaigns, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service_runtime.pages import PageRequest, Question


def list_campaigns(
    connection: sa.Connection,
    organisation: str,
    page: PageRequest,
    *,
    states: Sequence[State],
    labels: Mapping[str, str],
    stuck_first: bool,
    id_prefix: str = "",
) -> Page:
    """Return campaigns, newest first, or those longest without progress first.

    Args:
        connection: on a snapshot.
        organisation: whose.
        page: which page.
        states: only these; empty: all, or with ``stuck_first`` the open ones.
        labels: only those that have all of these.
        stuck_first: the order.
        id_prefix: only those whose id begins so.
    """
    columns = campaigns.c
    requested = [state.value for state in states] or (
        [state.value for state in sorted(OPEN)] if stuck_first else []
    )
    # Compared as the database keeps it, so that a token carries it exactly.
    moment = sa.type_coerce(
        sa.func.coalesce(columns.progress_time, columns.start_time, columns.create_time)
        if stuck_first
        else columns.create_time,
        sa.BigInteger,
    )
    key = sa.tuple_(moment, columns.campaign)
    query = sa.select(campaigns, moment.label("moment")).where(columns.organisation == organisation)
    if requested:
        query = query.where(columns.state.in_(requested))
    for label, value in labels.items():
        query = query.where(columns.campaign.in_(_labelled(organisation, label, value)))
    question = ["campaigns", organisation, sorted(requested), sorted(labels.items()), stuck_first]
    if id_prefix:
        query = query.where(sa.func.substr(columns.campaign_id, 1, len(id_prefix)) == id_prefix)
        question.append(id_prefix)
    after = page.after(question, parts=2)
    if after:
        bound = sa.tuple_(*(sa.literal(value) for value in after))
        query = query.where(key > bound if stuck_first else key < bound)
    order = (moment, columns.campaign) if stuck_first else (moment.desc(), columns.campaign.desc())
    return _page(
        connection,
        query.order_by(*order),
        page,
        question,
        key_of=lambda row: [row.moment, row.campaign],
    )


def _labelled(organisation: str, label: str, value: str) -> sa.Select[tuple[int]]:
    labels = campaign_labels.c
    return sa.select(labels.campaign).where(
        labels.organisation == organisation, labels.label == label, labels.value == value
    )


def list_results(
    connection: sa.Connection,
    organisation: str,
    campaign_id: str,
    page: PageRequest,
    *,
    outcomes: Sequence[int],
    codes: Sequence[str] = (),
) -> Page:
    """Return results of a campaign in order of sequence.

    Where only ``codes`` or SENT ones are asked for, it looks at a bounded number of results:
    a page may be short, or empty, and not be the last.

    Raises:
        CampaignNotFoundError: there is no such campaign.
        ResultsRemovedError: its results are not kept any more.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    deleted.check_results_kept(campaign)
    question = ["results", organisation, campaign_id, sorted(outcomes)]
    if codes:
        question.append(sorted(codes))
    after = page.after(question) or [0]
    found = some_results.find(
        connection,
        campaign.campaign,
        after=after[0],
        limit=page.size + 1,
        outcomes=outcomes,
        codes=codes,
    )
    return Page.of(
        found.rows,
        page,
        question,
        key_of=lambda row: [row.sequence],
        stopped_at=None if found.stopped_at is None else [found.stopped_at],
    )


def list_missing_ranges(
    connection: sa.Connection, organisation: str, campaign_id: str, page: PageRequest
) -> Page:
    """Return (first, last) of the ranges of messages without a result, in order.

    It looks at a bounded number of results: a page may be short, or empty, and not be the
    last.

    Raises:
        CampaignNotFoundError: there is no such campaign.
        ResultsRemovedError: its results are not kept any more.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    deleted.check_results_kept(campaign)
    question = ["missing", organisation, campaign_id]
    after = page.after(question) or [0]
    found = gaps.find(
        connection,
        campaign.campaign,
        campaign.total or 0,
        after=after[0],
        limit=page.size + 1,
        most_windows=gaps.PAGE_WINDOWS,
    )
    stopped_at = None if found.stopped_at is None else [found.stopped_at]
    return Page.of(found.ranges, page, question, key_of=lambda gap: [gap[1]], stopped_at=stopped_at)


def list_transitions(
    connection: sa.Connection, organisation: str, campaign_id: str, page: PageRequest
) -> Page:
    """Return the audit trail of a campaign, oldest first.

    Raises:
        CampaignNotFoundError: there is no such campaign.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    question = ["transitions", organisation, campaign_id]
    after = page.after(question) or [0]
    query = sa.select(transitions).where(
        transitions.c.campaign == campaign.campaign, transitions.c.transition > after[0]
    )
    return _page(
        connection,
        query.order_by(transitions.c.transition),
        page,
        question,
        key_of=lambda row: [row.transition],
    )


def _page(
    connection: sa.Connection,
    query: sa.Select[Any],
    page: PageRequest,
    question: Question,
    *,
    key_of: Callable[[Any], list[int]],
) -> Page:
    rows = connection.execute(query.limit(page.size + 1)).all()
    return Page.of(rows, page, question, key_of=key_of)
