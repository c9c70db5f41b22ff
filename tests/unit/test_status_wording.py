"""Numbers, times and sentences as the texts for people have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from status_service.campaigns.wording import ago, at, number, sentence, since, span

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def test_a_clause_that_ends_by_itself_gets_no_period() -> None:
    """Dots are none too many, and a question stays one."""
    assert [sentence(clause) for clause in ("is it on?", "it is off!", "off...", "off")] == [
        "Is it on?",
        "It is off!",
        "Off.",
        "Off.",
    ]


@pytest.mark.parametrize(
    ("seconds", "length", "past"),
    [
        (0, "less than 1 s", "now"),
        (0.999, "less than 1 s", "now"),
        (1, "1 s", "1 s ago"),
        (12.9, "12 s", "12 s ago"),
        (59.9, "59 s", "59 s ago"),
        (60, "1 min", "1 min ago"),
        (42 * 60 + 59, "42 min", "42 min ago"),
        (3_600, "1 h", "1 h ago"),
        (84 * 60, "1 h 24 min", "1 h 24 min ago"),
        (17 * 3_600, "17 h", "17 h ago"),
        (24 * 3_600, "1 d", "1 d ago"),
        (6.9 * 86_400, "6 d", "6 d ago"),
        (30 * 86_400, "30 d", "30 d ago"),
    ],
)
def test_times_have_at_most_two_units(seconds: float, length: str, past: str) -> None:
    """Spans and relative times, at their bounds."""
    assert (span(timedelta(seconds=seconds)), ago(timedelta(seconds=seconds))) == (length, past)


def test_what_is_a_month_ago_has_its_date() -> None:
    """From 30 days on; in UTC."""
    assert since(NOW - timedelta(days=29, hours=23), NOW) == "29 d ago"
    assert since(NOW - timedelta(days=30), NOW) == "on 26 Oct 2026"
    assert at(datetime(2026, 3, 1, 8, 5, 59, tzinfo=UTC)) == "1 Mar 2026, 08:05 UTC"
    assert number(1_000_000) == "1,000,000"
