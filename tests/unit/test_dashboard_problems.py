"""The groups of a scan for problems, the scans that are shared, and what a repair did."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from service_runtime.caller import Caller
from service_runtime.errors import StoreUnavailableError
from status_service.campaigns.repair import Finding
from status_service.dashboard import last_repair
from status_service.dashboard.problem_groups import group, heading
from status_service.dashboard.problem_scans import KEPT_SECONDS, ProblemScans
from status_service.domain import Diagnosis, State

NOW = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)
CALLER = Caller("north", "key:ops")


def finding(campaign_id: str, diagnosis: Diagnosis | None, **changed: Any) -> Finding:
    """Return a finding of a campaign of ten messages."""
    row = {
        "campaign_id": campaign_id,
        "display_name": f"Campaign {campaign_id}",
        "state": "PAUSED" if diagnosis is Diagnosis.PAUSED else "SENDING",
        "total": 10,
        "sent": 4,
        "failed": 0,
        "skipped": 0,
        "unknown": 0,
        "problems": "[]",
        "start_time": NOW - timedelta(hours=1),
        "progress_time": NOW - timedelta(minutes=42),
        "schedule_time": None,
        "last_reporter": "sender-1",
    }
    repaired = changed.pop("repaired", diagnosis is not None and diagnosis.is_defect)
    after = changed.pop("after", diagnosis)
    is_locked = changed.pop("is_locked", False)
    campaign: Any = SimpleNamespace(**(row | changed))
    return Finding(campaign, diagnosis, after, repaired=repaired, now=NOW, is_locked=is_locked)


def test_a_scan_has_three_groups() -> None:
    """What can be fixed, what needs a person, and what is left alone."""
    scan = group(
        [
            finding("full", Diagnosis.FULLY_PROCESSED),
            finding("drift", Diagnosis.COUNTER_DRIFT),
            finding("stalled", Diagnosis.STALLED),
            finding("never", Diagnosis.NEVER_STARTED),
            finding("going", Diagnosis.IN_PROGRESS),
            finding("paused", Diagnosis.PAUSED),
            finding("ended", None),
        ],
        NOW,
    )
    assert [found.campaign_id for found in scan.fixable] == ["full", "drift"]
    assert [found.campaign_id for found in scan.needy] == ["stalled", "never"]
    assert [(found.campaign_id, found.is_paused) for found in scan.alone] == [
        ("going", False),
        ("paused", True),
    ]
    assert (scan.looked_at, scan.more_alone) == (6, "")
    assert scan.heading == "Two campaigns can be fixed, two need a person"
    assert scan.title == "2 to fix, 2 need a person"


def test_many_campaigns_are_counted_and_not_kept() -> None:
    """Twenty that are left alone are shown, and of the others how many are what."""
    going = [finding(f"g{number}", Diagnosis.IN_PROGRESS) for number in range(9_720)]
    paused = [finding(f"p{number}", Diagnosis.PAUSED) for number in range(280)]
    scan = group([*going, *paused], NOW)
    assert len(scan.alone) == 20
    assert scan.more_alone == "and 9,980 more: 9,700 in progress, 280 paused."
    scan = group([finding(f"s{number}", Diagnosis.STALLED) for number in range(300)], NOW)
    assert (len(scan.needy), scan.needy_count) == (100, 300)


@pytest.mark.parametrize(
    ("fixable", "needy", "text"),
    [
        (1, 2, "One campaign can be fixed, two need a person"),
        (3, 1, "Three campaigns can be fixed, one needs a person"),
        (13, 0, "13 campaigns can be fixed, and nobody is needed"),
        (0, 0, "Nothing to fix, and nobody is needed"),
        (0, 1, "Nothing to fix, and one campaign needs a person"),
        (0, 20, "Nothing to fix, and 20 campaigns need a person"),
    ],
)
def test_the_heading_would_do_as_a_message(fixable: int, needy: int, text: str) -> None:
    """One sentence says how much there is to do."""
    assert heading(fixable, needy) == text


class _Service:
    """Counts scans, and answers when it is let."""

    def __init__(self) -> None:
        self.scans = 0
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def repair(self, _caller: Caller, *, dry_run: bool) -> list[Finding]:
        """Find one campaign."""
        assert dry_run
        self.scans += 1
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return [finding("full", Diagnosis.FULLY_PROCESSED)]


async def _moment() -> datetime:
    return NOW


class _Bench:
    """Scans whose clock is set by the test."""

    def __init__(self) -> None:
        self.service = _Service()
        self.seconds = 100.0
        service: Any = self.service
        self.scans = ProblemScans(service, _moment, clock=lambda: self.seconds)


async def test_one_scan_serves_all_who_look_at_once() -> None:
    """However many people look, an organisation is scanned once, also where one goes away."""
    bench = _Bench()
    readers = [asyncio.create_task(bench.scans.scan(CALLER)) for _ in range(5)]
    await asyncio.sleep(0)
    readers[0].cancel()
    bench.service.may_answer.set()
    found = await asyncio.gather(*readers[1:])
    assert bench.service.scans == 1
    assert all(scan is found[0] for scan in found)


async def test_a_scan_is_kept_for_five_seconds() -> None:
    """Reloads within five seconds scan nothing; "Scan again" does."""
    bench = _Bench()
    bench.service.may_answer.set()
    first = await bench.scans.scan(CALLER)
    await asyncio.sleep(0)
    bench.seconds += KEPT_SECONDS - 0.1
    assert await bench.scans.scan(CALLER) is first
    assert await bench.scans.scan(CALLER, again=True) is not first
    await asyncio.sleep(0)
    bench.seconds += KEPT_SECONDS
    await bench.scans.scan(CALLER)
    assert bench.service.scans == 3


async def test_a_repair_makes_the_next_look_a_new_scan() -> None:
    """What was found before a repair is not shown after it, nor is a scan that still runs."""
    bench = _Bench()
    early = asyncio.create_task(bench.scans.scan(CALLER))
    await asyncio.sleep(0)
    bench.scans.forget(CALLER.organisation)
    late = asyncio.create_task(bench.scans.scan(CALLER))
    await asyncio.sleep(0)
    bench.service.may_answer.set()
    assert await early is not await late


async def test_a_scan_that_failed_is_not_kept() -> None:
    """The database may answer the next one."""
    bench = _Bench()
    bench.service.may_answer.set()
    bench.service.error = StoreUnavailableError("down")
    with pytest.raises(StoreUnavailableError):
        await bench.scans.scan(CALLER)
    bench.service.error = None
    assert (await bench.scans.scan(CALLER)).fixable_count == 1


async def test_scans_of_many_organisations_take_bounded_memory() -> None:
    """The scan that was used longest ago goes, and nobody gets that of another."""
    bench = _Bench()
    bench.service.may_answer.set()
    for number in range(300):
        await bench.scans.scan(Caller(f"org-{number}", "key:ops"))
    assert len(bench.scans._kept) == 64
    assert bench.service.scans == 300


def test_what_a_repair_did_is_kept_as_a_text() -> None:
    """What was repaired, and what could not be, comes back as it was."""
    findings = [
        finding(
            "drift",
            Diagnosis.COUNTER_DRIFT,
            after=None,
            state="COMPLETED",
            sent=10,
            display_name='"><img src=x onerror=alert(1)>',
        ),
        finding("held", Diagnosis.FULLY_PROCESSED, repaired=False, is_locked=True),
        finding("alone", Diagnosis.IN_PROGRESS),
    ]
    kept = last_repair.last_repair(findings, NOW)
    assert [(row.campaign_id, row.was, row.done, row.state) for row in kept.repaired] == [
        (
            "drift",
            "COUNTER_DRIFT",
            "Counted again, and completed: all 10 messages have a result.",
            State.COMPLETED,
        ),
        (
            "held",
            "FULLY_PROCESSED",
            "Another client of the database holds the campaign locked. Try fix again later.",
            State.SENDING,
        ),
    ]
    assert last_repair.from_text(last_repair.to_text(kept)) == kept


def test_a_repair_of_many_campaigns_is_a_bounded_text() -> None:
    """Fifty are named, the others counted."""
    many = [
        finding(f"c{number}", Diagnosis.FULLY_PROCESSED, display_name="x" * 200, after=None)
        for number in range(2_000)
    ]
    kept = last_repair.last_repair(many, NOW)
    assert (len(kept.repaired), kept.more) == (50, 1_950)
    assert len(last_repair.to_text(kept)) < 50_000


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"kind": "other"}'])
def test_what_is_no_repair_is_none(text: str) -> None:
    """A session may keep something else, or nothing."""
    assert last_repair.from_text(text) is None
