"""Reads: one campaign, lists in pages, the audit trail.

Every function works on a snapshot its caller holds, and sees the campaigns of one
organisation only. Pages go by key, never by offset: a page token says where the
page before ended, and is bound to the question it was given for.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from service_runtime.errors import InvalidRequestError
from status_service.domain import OPEN, State
from status_service.recording import lookup, result_rows
from status_service.schema import campaigns, results, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


#: Longest page token there is, with room to spare.
_LONGEST_TOKEN = 4_096
#: Keys are signed 64-bit integers.
_KEY_BOUND = 2**63


class Page(NamedTuple):
    """Rows, and the token of the page after them; empty on the last."""

    rows: Sequence[Any]
    next_page_token: str


class PageRequest(NamedTuple):
    """What a caller wants to see of a list.

    Attributes:
        size: at most how many rows; at least 1.
        token: the token of the page before; empty for the first.
    """

    size: int
    token: str


def list_campaigns(
    connection: sa.Connection,
    organisation: str,
    page: PageRequest,
    *,
    states: Sequence[State],
    stuck_first: bool,
) -> Page:
    """Return campaigns, newest first, or those longest without progress first.

    Args:
        connection: on a snapshot.
        organisation: whose.
        page: which page.
        states: only these; empty: all, or with ``stuck_first`` the open ones.
        stuck_first: the order.
    """
    columns = campaigns.c
    wanted = [state.value for state in states] or (
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
    if wanted:
        query = query.where(columns.state.in_(wanted))
    question = ["campaigns", organisation, sorted(wanted), stuck_first]
    after = _after(page.token, question, parts=2)
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


def list_results(
    connection: sa.Connection,
    organisation: str,
    campaign_id: str,
    page: PageRequest,
    *,
    outcomes: Sequence[int],
) -> Page:
    """Return results of a campaign in order of sequence; only ``outcomes`` if any are given.

    Raises:
        CampaignNotFoundError: there is no such campaign.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    question = ["results", organisation, campaign_id, sorted(outcomes)]
    after = _after(page.token, question) or [0]
    query = sa.select(results).where(
        results.c.campaign == campaign.campaign, results.c.sequence > after[0]
    )
    if outcomes:
        query = query.where(results.c.outcome.in_(sorted(outcomes)))
    return _page(
        connection,
        query.order_by(results.c.sequence),
        page,
        question,
        key_of=lambda row: [row.sequence],
    )


def list_missing_ranges(
    connection: sa.Connection, organisation: str, campaign_id: str, page: PageRequest
) -> Page:
    """Return (first, last) of the ranges of messages without a result, in order.

    Raises:
        CampaignNotFoundError: there is no such campaign.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    question = ["missing", organisation, campaign_id]
    after = _after(page.token, question) or [0]
    ranges = (
        result_rows.missing_ranges(
            connection, campaign.campaign, campaign.total, after=after[0], limit=page.size + 1
        )
        if campaign.total
        else []
    )
    return _cut(ranges, page, question, key_of=lambda gap: [gap[1]])


def list_transitions(
    connection: sa.Connection, organisation: str, campaign_id: str, page: PageRequest
) -> Page:
    """Return the audit trail of a campaign, oldest first.

    Raises:
        CampaignNotFoundError: there is no such campaign.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    question = ["transitions", organisation, campaign_id]
    after = _after(page.token, question) or [0]
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
    question: list[Any],
    *,
    key_of: Callable[[Any], list[int]],
) -> Page:
    rows = connection.execute(query.limit(page.size + 1)).all()
    return _cut(rows, page, question, key_of=key_of)


def _cut(
    rows: Sequence[Any],
    page: PageRequest,
    question: list[Any],
    *,
    key_of: Callable[[Any], list[int]],
) -> Page:
    """Cut the one row too many off; it told that there is another page."""
    if len(rows) <= page.size:
        return Page(rows, "")
    shown = rows[: page.size]
    token = json.dumps([question, key_of(shown[-1])]).encode()
    return Page(shown, base64.urlsafe_b64encode(token).decode())


def _after(token: str, question: list[Any], parts: int = 1) -> list[int] | None:
    """Return the key of ``parts`` numbers that a page token ended at; None for the first page.

    A token is whatever the caller sent: nothing about it is taken for granted.
    """
    if not token:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(token[:_LONGEST_TOKEN].encode()))
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError.of({"page_token": "not a token of this service"}) from error
    match content:
        case [asked, [*key]] if len(key) == parts and all(map(_is_key, key)):
            if asked == question:
                return key
            raise InvalidRequestError.of({"page_token": "given for another question"})
    raise InvalidRequestError.of({"page_token": "not a token of this service"})


def _is_key(part: object) -> bool:
    return type(part) is int and abs(part) < _KEY_BOUND
