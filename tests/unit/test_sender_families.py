"""Families: what they are called, and how far a commit goes over people who are left out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.api import requests
from sender_service.campaigns.drafts import new_campaign
from sender_service.channels.null import NullChannel
from sender_service.domain import family_of
from sender_service.store import families, omissions
from sender_service.store.values import NewCampaign


def created(**fields: object) -> NewCampaign:
    message = pb.CreateCampaignRequest(channel="null", **fields)  # type: ignore[arg-type]
    return new_campaign(requests.create(message), "default", NullChannel())


@pytest.mark.parametrize(
    ("family", "display_name", "stored"),
    [
        ("", "", ""),
        ("", " Welcome\n", "Welcome"),
        ("news", "Welcome", "news"),
        (" \t", "Welcome", "Welcome"),
        ("Cafe\u0301", "", "Caf\u00e9"),
        ("WELCOME", "", "WELCOME"),
        ("a  b", "", "a  b"),
    ],
)
def test_a_family_is_compared_exactly(family: str, display_name: str, stored: str) -> None:
    """Two ways to write one letter are the same, and blanks at the ends do not count."""
    assert family_of(family, display_name) == stored


@given(st.text(), st.text())
def test_a_family_that_is_stored_stays_what_it_is(family: str, display_name: str) -> None:
    """What was stored once is compared with what is computed later."""
    stored = family_of(family, display_name)
    assert family_of(stored, "other") == (stored or "other")


def test_a_campaign_counts_as_a_repetition_for_seven_days() -> None:
    """Unless it names another time, or none at all."""
    week = 7 * 24 * 3600 * 1000
    assert (created().family, created().repeat_after_ms) == ("", week)
    named = created(display_name="Welcome", repeat_after=timedelta(days=1))
    assert (named.family, named.repeat_after_ms) == ("Welcome", week // 7)
    assert created(repeat_after=timedelta(0)).repeat_after_ms == 0


def test_a_family_that_is_named_is_part_of_the_request() -> None:
    """The same id with another family is another campaign; none named changes no digest."""
    digests = {
        created(display_name="Welcome", **fields).request_digest
        for fields in (
            {},
            {"family": "a"},
            {"family": "b"},
            {"repeat_after": timedelta(0)},
            {"repeat_after": timedelta(days=7)},
        )
    }
    assert len(digests) == 5
    assert created(display_name="a").request_digest == "0a18f4fc832148233ca60f0ad682fd12"


@given(
    left_out=st.sets(st.integers(1, 30)),
    after=st.integers(0, 30),
    take=st.integers(1, 10),
    furthest=st.integers(0, 30),
)
def test_the_reach_of_a_commit(left_out: set[int], after: int, take: int, furthest: int) -> None:
    """It is the furthest at which no more than ``take`` messages are not left out."""
    furthest = max(after, furthest)
    listed = sorted(number for number in left_out if after < number <= furthest)
    through = omissions.reach(listed, after=after, take=take, furthest=furthest)
    assert after <= through <= furthest

    def taken(last: int) -> int:
        return sum(number not in left_out for number in range(after + 1, last + 1))

    assert taken(through) <= take
    assert through == furthest or taken(through) == take


def test_a_transaction_looks_at_fewer_people_beside_more_campaigns() -> None:
    """At one at least, as many campaigns as are counted there may be."""
    pairs, most = families._PAIRS_A_PART, families.PEOPLE_A_PART
    sizes = [families.people_a_part(others) for others in (1, pairs // most, pairs // 2, pairs)]
    assert sizes == [most, most, 2, 1]
    assert families.people_a_part(pairs // most + 1) < most
