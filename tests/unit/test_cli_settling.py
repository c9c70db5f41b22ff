"""What needs a campaign to have ended waits for a sender that has yet to write that down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from closeout.errors import FailedPreconditionError
from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli import settling

STARTED, FINISHED = pb.GetDeliveryResponse.STARTED, pb.GetDeliveryResponse.FINISHED


class Sender:
    """A sender that refuses a call until it has been asked how a campaign stands so often."""

    def __init__(self, *deliveries: pb.GetDeliveryResponse, reason: str) -> None:
        self.deliveries = list(deliveries)
        self.reason = reason
        self.calls = 0

    async def get_delivery(self, *, campaign_id: str) -> pb.GetDeliveryResponse:
        """Say how the campaign stands."""
        assert campaign_id == "a"
        return self.deliveries.pop(0)

    async def call(self) -> str:
        """Refuse, or answer."""
        self.calls += 1
        if self.deliveries:
            raise FailedPreconditionError("refused", reason=self.reason)
        return "done"


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses take the time that they are said to take, and no other."""
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(settling, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(settling, "time", SimpleNamespace(monotonic=lambda: now[0]))


async def called(sender: Any) -> str:
    return await settling.once_settled(sender, "a", sender.call)


def delivery(phase: Any, finished: int) -> pb.GetDeliveryResponse:
    return pb.GetDeliveryResponse(phase=phase, total=5, finished=finished)


async def test_last_acknowledgements_are_waited_for() -> None:
    """Every message has an outcome; also where the sender writes it down between two looks."""
    sender = Sender(delivery(STARTED, 5), delivery(FINISHED, 5), reason="CAMPAIGN_NOT_ENDED")
    assert await called(sender) == "done"
    assert sender.calls == 3


async def test_they_are_not_waited_for_without_end() -> None:
    """After ten seconds the sender's refusal is what is said."""
    sender = Sender(*[delivery(STARTED, 5)] * 999, reason="CAMPAIGN_NOT_ENDED")
    with pytest.raises(FailedPreconditionError):
        await called(sender)
    assert 50 <= sender.calls <= 52


@pytest.mark.parametrize(
    ("phase", "finished", "reason"),
    [
        (STARTED, 4, "CAMPAIGN_NOT_ENDED"),
        (pb.GetDeliveryResponse.FROZEN, 5, "CAMPAIGN_NOT_ENDED"),
        (STARTED, 5, "AUDIENCE_REPEATED"),
    ],
)
async def test_what_does_not_pass_by_itself_is_said_at_once(
    phase: Any, finished: int, reason: str
) -> None:
    """Messages without an outcome may wait for a person, and another reason is another matter."""
    sender = Sender(*[delivery(phase, finished)] * 9, reason=reason)
    with pytest.raises(FailedPreconditionError):
        await called(sender)
    assert sender.calls == 1
