"""What pages say of the answers of a sender."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from status_service.dashboard import resend_form, sender_part
from status_service.dashboard.sender_link import Answer


@pytest.mark.parametrize(
    ("channel", "counts", "said"),
    [
        ("smtp", {}, "None was handed to the mail server."),
        ("webhook", {}, "None was handed to the provider."),
        ("smtp", {"in_doubt": 64}, "64 may be in the provider's hands."),
        (
            "smtp",
            {"in_doubt": 1_064, "deferred": 1},
            "1,064 may be in the provider's hands. 1 waits for another try.",
        ),
        ("smtp", {"deferred": 2}, "None is in the provider's hands. 2 wait for another try."),
        (
            "smtp",
            {"unreported": 1},
            "None is in the provider's hands. 1 has an outcome that is not reported yet.",
        ),
        ("smtp", {"in_doubt": -1, "deferred": -1}, "None was handed to the mail server."),
    ],
)
def test_messages_at_the_provider(channel: str, counts: dict[str, int], said: str) -> None:
    """None, some, and those that wait; numbers that can't be are taken for none."""
    assert sender_part.at_provider(channel, pb.GetDeliveryResponse(**counts)) == said


@pytest.mark.parametrize(
    ("guarantee", "said"),
    [
        (pb.DeliveryOptions.AT_MOST_ONCE, "at most once"),
        (pb.DeliveryOptions.AT_LEAST_ONCE, "at least once"),
        (pb.DeliveryOptions.GUARANTEE_UNSPECIFIED, ""),
        (77, ""),
    ],
)
def test_the_guarantee(guarantee: int, said: str) -> None:
    """One that an older or a newer sender has is left out."""
    found = pb.GetDeliveryResponse()
    found.guarantee = guarantee  # type: ignore[assignment]
    campaign = SimpleNamespace(channel="smtp")
    assert sender_part.part(campaign, Answer(found)).guarantee == said


def test_a_part_that_is_missing() -> None:
    """The note says why; what the other question found is there."""
    people = pb.BatchGetRecipientsResponse(
        recipients=[pb.RecipientEntry(sequence=3, recipient_key="c-\u202e3")]
    )
    campaign = SimpleNamespace(channel="smtp")
    found = sender_part.part(campaign, Answer(None, "It is away."), Answer(people))
    assert (found.note, found.at_provider, found.keys) == ("It is away.", "", {3: "c-\ufffd3"})


@pytest.mark.parametrize(
    ("counts", "chosen", "sentence", "button"),
    [
        (
            {"total": 12, "unknown": 12},
            ["unknown"],
            "12 people get it again: 12 unknown. Some of them may get it twice.",
            "Resend to 12 people",
        ),
        (
            {"total": 1, "failed": 1},
            ["failed", "unknown"],
            "1 person gets it again: 1 failed.",
            "Resend to 1 person",
        ),
        (
            {"total": 0},
            ["failed"],
            "Nobody has such a message at the sender. Tick others.",
            "Resend to 0 people",
        ),
        (
            {"total": -4},
            ["failed"],
            "Nobody has such a message at the sender. Tick others.",
            "Resend to 0 people",
        ),
    ],
)
def test_the_review(counts: dict[str, int], chosen: list[str], sentence: str, button: str) -> None:
    """It names how many, of each kind, and what may happen twice."""
    found = resend_form.review(pb.ResendCampaignResponse(**counts), chosen, "r")
    assert (found.sentence, found.button) == (sentence, button)


def test_the_preview_is_foreign_text() -> None:
    """Its lines stay, and what could disturb the page is shown."""
    counted = pb.ResendCampaignResponse(total=1, preview="Subject: \u202ea\r\n\r\nHello\x07")
    assert resend_form.review(counted, [], "r").preview == "Subject: \ufffda\n\nHello\ufffd"
