"""How long what is rejected waits, and what is shown of it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from closeout.status.v1 import status_pb2
from sender_service.reporting import rejections as module
from sender_service.reporting.rejections import Rejections
from sender_service.reporting.relay_queue import RelayQueue
from sender_service.reporting.relayed_campaign import RelayedCampaign
from sender_service.reporting.subscription import Event, Subscription
from sender_service.store.outbox import ShardKey, ShardProgress


class ShowingDirectory:
    """Keeps the last problem of its one campaign."""

    def __init__(self) -> None:
        self.problem: Any = None
        self.at_work = True

    def find(self, campaign: int) -> int | None:
        """Return the campaign if it is at work."""
        return campaign if self.at_work else None

    async def set_problem(self, active: int, source: object, problem: Any) -> bool:  # noqa: ARG002
        """Note the problem."""
        before, self.problem = self.problem, problem
        return bool(before != problem)


@pytest.fixture
def queue() -> RelayQueue:
    """A queue with a campaign whose results go out in sixteen pages."""
    made = RelayQueue(10)
    made.add(1, "c1", [ShardProgress(ShardKey(1, 1), 160, 0)])
    number = 0
    while (frame := made.next_frame(0.0)) is not None:
        number += 1
        made.sent(number, frame)
        if frame.page is None:
            made.apply(frame.campaign, Event.ANSWERED)
    return made


def campaign_of(queue: RelayQueue) -> RelayedCampaign:
    campaign = queue.find(1)
    assert campaign is not None
    return campaign


def test_frames_rejected_together_make_one_wait(
    queue: RelayQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen frames in flight are one rejection: the wait is the first, not the longest."""
    monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 1000.0)
    rejections = Rejections(queue, cast("Any", ShowingDirectory()))
    holds = []
    for number in range(2, 18):
        for campaign in queue.acknowledge(number, {number}).rejected:
            rejections.hold(campaign, Event.REJECTED)
            holds.append(number)
    assert holds == [2]
    assert campaign_of(queue).state is Subscription.HELD


@pytest.mark.parametrize(("retryable", "level"), [(True, "warning"), (False, "error")])
async def test_a_rejection_is_shown_once(queue: RelayQueue, level: str, *, retryable: bool) -> None:
    """As a warning where it may pass by itself, as an error, for a person, where not."""
    directory = ShowingDirectory()
    rejections = Rejections(queue, cast("Any", directory))
    rejection = status_pb2.Rejection(reason="CAMPAIGN_BUSY", message="locked", retryable=retryable)
    with capture_logs() as logged:
        for _ in range(2):
            await rejections.show(campaign_of(queue), rejection)
        assert directory.problem.needs_attention is not retryable
        await rejections.accepted(campaign_of(queue))
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("results_rejected", level),
        ("results_accepted_again", "info"),
    ]
    assert directory.problem is None


async def test_a_rejection_of_an_ended_campaign_is_logged_once(queue: RelayQueue) -> None:
    """Each reason once, until the campaign is forgotten; nothing is shown of it."""
    directory = ShowingDirectory()
    directory.at_work = False
    rejections = Rejections(queue, cast("Any", directory))
    locked = status_pb2.Rejection(reason="CAMPAIGN_BUSY", message="locked", retryable=True)
    wrong = status_pb2.Rejection(reason="SEQUENCE_OUT_OF_RANGE", message="out of range")
    with capture_logs() as logged:
        for rejection in (locked, wrong, locked, wrong):
            await rejections.show(campaign_of(queue), rejection)
        rejections.forget(1)
        await rejections.show(campaign_of(queue), locked)
    assert {line["event"] for line in logged} == {"results_rejected"}
    assert [(line["reason"], line["log_level"]) for line in logged] == [
        ("CAMPAIGN_BUSY", "warning"),
        ("SEQUENCE_OUT_OF_RANGE", "error"),
        ("CAMPAIGN_BUSY", "warning"),
    ]
    assert directory.problem is None


def test_only_the_first_new_seal_is_followed_by_no_wait(queue: RelayQueue) -> None:
    """Another one does not help where results are rejected still."""
    rejections = Rejections(queue, cast("Any", ShowingDirectory()))
    campaign = campaign_of(queue)
    for expected in (Subscription.UNSUBSCRIBED, Subscription.HELD):
        rejections.seal_requested(campaign)
        campaign.state = Subscription.RESEALING
        rejections.resealed(campaign, sealed=True)
        assert campaign.state is expected
    rejections.forget(1)
    campaign.state = Subscription.RESEALING
    rejections.resealed(campaign, sealed=False)
    assert campaign.state is Subscription.HELD
