"""Results that the status service refuses: waited for, sealed for, and sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from integration import sender_support as support
from integration.sender_faults import FakeStatusService, Faults, beside
from sender_service.reporting import rejections as refusals_module
from sender_service.reporting import result_stream as reporter_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from closeout.status.v1 import status_pb2

_MESSAGES = 200
#: As many frames as the sender has in flight at most.
_TOGETHER = 16
_HOUR = 3600.0


class RejectingTogether(FakeStatusService):
    """Rejects the first frames with results once there are as many as can be in flight.

    Args:
        reason: what it rejects them for.
        late: how many of them it answers only after the next subscription came.
    """

    def __init__(self, reason: str, *, late: int) -> None:
        super().__init__()
        self._reason = reason
        self._late = late
        self._kept: list[status_pb2.ReportResultsResponse] = []
        self._began = False

    def answers(self, request: Any) -> Iterator[status_pb2.ReportResultsResponse]:
        """Reject frame by frame, as one that takes them as they come."""
        if request.results and (self._kept or not self._began):
            self._kept.append(self.rejected(request, self._reason))
            if len(self._kept) == _TOGETHER and not self._began:
                self._began = True
                yield from self._let_go(_TOGETHER - self._late)
            return
        if self._began:
            yield from self._let_go(len(self._kept))
        yield self.stored_answer(request)

    def _let_go(self, count: int) -> Iterator[status_pb2.ReportResultsResponse]:
        answers, self._kept = self._kept[:count], self._kept[count:]
        yield from answers


def set_waits(monkeypatch: pytest.MonkeyPatch, *, first: float) -> None:
    """Let a campaign that is refused wait so long at first, and up to an hour."""
    monkeypatch.setattr(refusals_module, "_FIRST_WAIT_SECONDS", first)
    monkeypatch.setattr(refusals_module, "_MAX_WAIT_SECONDS", _HOUR)


def events(logged: Sequence[Any], *names: str) -> list[str]:
    """Return which of the events were logged, in order."""
    return [line["event"] for line in logged if line["event"] in names]


async def go_through(both: Faults, campaign_id: str) -> None:
    """See a campaign from its begin to its end: all that others do at once is done then."""
    await both.begin(campaign_id, 50)
    await both.finished(campaign_id)


async def test_l4_frames_refused_together_are_soon_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wait and not sixteen, each twice as long: that would be half an hour here."""
    monkeypatch.setattr(reporter_module, "_RESULTS_A_FRAME", 5)
    set_waits(monkeypatch, first=0.05)
    fake = RejectingTogether("SEQUENCE_OUT_OF_RANGE", late=0)
    async with beside(fake, tmp_path) as both:
        with capture_logs() as logged:
            await both.begin("c1", _MESSAGES)
            delivery = await both.finished("c1")
        assert (delivery.unreported, len(delivery.problems)) == (0, 0)
    assert set(fake.stored) == set(range(1, _MESSAGES + 1))
    logs = events(logged, "results_rejected", "results_accepted_again")
    assert logs == ["results_rejected", "results_accepted_again"]


async def test_what_was_in_flight_at_a_new_seal_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames rejected before the seal was back, and answered after it: no error, no second seal."""
    monkeypatch.setattr(reporter_module, "_RESULTS_A_FRAME", 5)
    set_waits(monkeypatch, first=_HOUR)
    fake = RejectingTogether("CAMPAIGN_NOT_SEALED", late=_TOGETHER // 2)
    async with beside(fake, tmp_path) as both:
        with capture_logs() as logged:
            await both.begin("c1", _MESSAGES)
            await both.finished("c1")
    assert set(fake.stored) == set(range(1, _MESSAGES + 1))
    assert fake.seals == {"c1": 2}
    assert events(logged, "results_rejected", "results_accepted_again") == []


async def test_a_seal_that_does_not_help_is_waited_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results rejected for want of a seal although there is a new one: each try waits."""
    set_waits(monkeypatch, first=_HOUR)
    fake = FakeStatusService()
    fake.reject = {"c1"}
    async with beside(fake, tmp_path) as both:
        await both.begin("c1", 30)
        # The one it began with, one without a wait, and one after which it waits.
        await support.eventually(lambda: fake.seals["c1"] >= 3)
        assert "CAMPAIGN_NOT_SEALED" in await support.eventually(lambda: both.problem("c1"))
        await go_through(both, "c2")
        assert fake.seals["c1"] == 3
        assert len(fake.frames) < 100


async def test_a_seal_that_is_not_seen_is_waited_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign with nothing to report that stays a DRAFT after every seal."""
    set_waits(monkeypatch, first=_HOUR)
    fake = FakeStatusService()
    async with beside(fake, tmp_path) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        fake.drafts = {"c1"}
        await both.begin("c1", 30)
        await support.eventually(lambda: fake.seals["c1"] >= 3)
        both.channel.script = lambda _: support.ACCEPTED
        await go_through(both, "c2")
        assert fake.seals["c1"] == 3
