"""The bar of a campaign: its parts, their shares, and its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_service.dashboard.bar import bar

_counts = st.integers(0, 2**53)


def test_the_parts_have_their_shares_in_order() -> None:
    """A part is its share with four decimals, and an empty one is left out."""
    drawn = bar(48_200, sent=18_097, failed=143, skipped=0, unknown=0)
    assert [(part.name, part.width, part.count) for part in drawn.parts] == [
        ("sent", "37.5456%", 18_097),
        ("failed", "0.2967%", 143),
        ("pending", "62.1577%", 29_960),
    ]
    assert drawn.label == "Of 48,200 messages: 18,097 sent, 143 failed, 29,960 without a result."


@pytest.mark.parametrize(
    ("counts", "label"),
    [
        ((1, 0, 0, 0), "Of 5 messages: 1 sent, 4 without a result."),
        (
            (1, 1, 1, 1),
            "Of 5 messages: 1 sent, 1 failed, 1 skipped, 1 in doubt, 1 without a result.",
        ),
        ((0, 0, 5, 0), "Of 5 messages: 5 skipped."),
    ],
)
def test_the_text_says_what_the_line_shows(counts: tuple[int, ...], label: str) -> None:
    """Nobody needs to see the bar to know what it shows."""
    sent, failed, skipped, unknown = counts
    drawn = bar(5, sent=sent, failed=failed, skipped=skipped, unknown=unknown)
    assert drawn.label == label


def test_a_campaign_without_messages_has_an_empty_bar() -> None:
    """Nothing is divided by the total of zero."""
    drawn = bar(0, sent=0, failed=0, skipped=0, unknown=0)
    assert drawn.parts == []
    assert drawn.label == "Of 0 messages: none."


@given(_counts, _counts, _counts, _counts, _counts)
def test_no_bar_is_longer_than_its_line(
    total: int, sent: int, failed: int, skipped: int, unknown: int
) -> None:
    """Counters that are wrong until they are repaired draw no line of more than 100 %."""
    drawn = bar(total, sent=sent, failed=failed, skipped=skipped, unknown=unknown)
    assert sum(float(part.width.rstrip("%")) for part in drawn.parts) <= 100.001
