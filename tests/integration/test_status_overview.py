"""What the pages read: who needs a person, and all that is shown of one campaign."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.status_support import FAILED, UNKNOWN, Status, results, serving
from service_runtime.caller import Caller
from service_runtime.database import Store
from service_runtime.pages import PageRequest
from status_service.campaigns.scans import Scans
from status_service.campaigns.service import CampaignService
from status_service.domain import Diagnosis, State
from status_service.errors import CampaignNotFoundError
from status_service.migrations import MIGRATIONS
from status_service.reads.service import CampaignViews
from status_service.reads.values import Overview
from status_service.recording.notifier import Notifier

_CALLER = Caller("default", "tester")
_THRESHOLD = timedelta(minutes=5)
_NEEDY = pb.Problem(kind=pb.Problem.PROVIDER_REFUSES, summary="it is refused", needs_attention=True)
_PASSING = pb.Problem(
    kind=pb.Problem.PROVIDER_DEFERS, summary='it waits "needs_attention": true', detail="421"
)


@asynccontextmanager
async def _views(database: Database) -> AsyncIterator[tuple[CampaignViews, CampaignService, Scans]]:
    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        scans = Scans()
        service = CampaignService(
            store, Notifier(), stall_threshold=_THRESHOLD, largest_total=1_000
        )
        yield CampaignViews(store, scans, stall_threshold=_THRESHOLD), service, scans
    finally:
        store.close()


async def _overview(
    views: CampaignViews, *, size: int = 50, token: str = "", id_prefix: str = ""
) -> Overview:
    page = PageRequest(size, token)
    return await views.overview(_CALLER, page, states=[], labels={}, id_prefix=id_prefix)


async def _make(status: Status) -> None:
    """Make a campaign of each kind: three need a person, two are open otherwise."""
    for name in ("stalled", "silent", "held", "going", "paused", "waits", "full"):
        await status.start(name, 10)
    for name in ("stalled", "held", "going", "paused", "waits"):
        await status.report(name, *results([1, 2]))
    for name, problem in (("held", _NEEDY), ("waits", _PASSING)):
        await status.client.batch_report_results(
            campaigns=[
                pb.CampaignResults(
                    campaign_id=name, problems=pb.CampaignProblems(problems=[problem])
                )
            ]
        )
    await status.client.pause_campaign(campaign_id="paused")
    await status.report("full", *results(range(1, 11)))
    await status.client.create_campaign(campaign_id="draft")
    hour = 3_600_000_000
    status.execute("UPDATE campaigns SET start_time = start_time - ?", 3 * hour)
    status.execute(
        "UPDATE campaigns SET progress_time = progress_time - ?"
        " WHERE campaign_id IN ('stalled', 'paused')",
        2 * hour,
    )


async def test_what_needs_a_person_comes_from_the_rows_alone(database: Database) -> None:
    """It is what a scan says that needs a person, longest without a result first."""
    async with serving(database) as status:
        await _make(status)
    async with _views(database) as (views, service, scans):
        found = await _overview(views, size=5)
        named = [one.campaign.campaign_id for one in found.needy]
        assert named == ["silent", "stalled", "held"]
        assert (found.needy_campaigns, found.other_open_campaigns) == (3, 3)
        assert found.needy[1].explanation.startswith("No result for 2 h; tester reported last.")
        assert found.needy[2].explanation.startswith("It is refused.")
        assert [row.campaign_id for row in found.page.rows] == [
            "draft",
            "full",
            "waits",
            "paused",
            "going",
        ]
        shown = {row.campaign for row in found.page.rows} | {
            one.campaign.campaign for one in found.needy
        }
        assert found.paces.keys() == shown
        rest = await _overview(views, size=5, token=found.page.next_page_token)
        assert [row.campaign_id for row in rest.page.rows] == ["held", "silent", "stalled"]
        begun = await _overview(views, id_prefix="s")
        assert [row.campaign_id for row in begun.page.rows] == ["silent", "stalled"]
        assert begun.needy_campaigns == 3

        # A scan comes to the same.
        assert views.latest_scan("default") is None
        scanned = await service.mending.scan(dry_run=True)
        scans.note(scanned)
        needy = {one.key.campaign_id for one in scanned.noticed if one.needs_attention}
        assert needy == set(named)
        latest = views.latest_scan("default")
        assert latest is not None
        assert latest[:3] == (6, 0, 3)
        assert datetime.now(UTC) - latest.scan_time < timedelta(minutes=1)
        assert views.latest_scan("another") is None


async def test_many_that_need_a_person_are_counted_and_ten_are_named(database: Database) -> None:
    """Those of another organisation are neither."""
    async with serving(database) as status:
        for number in range(13):
            await status.start(f"c{number:02}", 10)
        status.execute(
            "UPDATE campaigns SET start_time = start_time - 3600000000 - 1000 * campaign"
        )
        status.execute("UPDATE campaigns SET organisation = 'another' WHERE campaign_id = 'c12'")
    async with _views(database) as (views, _, _):
        found = await _overview(views)
        assert (found.needy_campaigns, found.other_open_campaigns) == (12, 0)
        assert len(found.needy) == 10
        idle = [one.standing.idle for one in found.needy]
        assert idle == sorted(idle, reverse=True)


async def test_s13_an_empty_organisation_sees_nothing(database: Database) -> None:
    """No row, no count, no pace."""
    async with serving(database) as status:
        await _make(status)
    async with _views(database) as (views, _, _):
        stranger = Caller("stranger", "tester")
        found = await views.overview(stranger, PageRequest(50, ""), states=[], labels={})
        assert (found.page.rows, found.paces, found.needy) == ([], {}, [])
        assert (found.needy_campaigns, found.other_open_campaigns) == (0, 0)
        with pytest.raises(CampaignNotFoundError):
            await views.campaign_page(stranger, "going")


async def test_the_page_of_a_campaign_is_one_snapshot(database: Database) -> None:
    """Sentence, counters over time, failures, doubts, gaps and trail, all at once."""
    async with serving(database) as status:
        await status.start("a", 100)
        await status.report(
            "a",
            *results([1, 2]),
            *results([4], FAILED, code="550", detail="no such user"),
            *results([6, 8, 10, 12], UNKNOWN, code="in_doubt"),
            *results([14, 16], UNKNOWN, code="timeout"),
        )
        for _ in range(11):
            await status.client.pause_campaign(campaign_id="a", reason="look")
            await status.client.resume_campaign(campaign_id="a")
    async with _views(database) as (views, _, _):
        page = await views.campaign_page(_CALLER, "a")
    assert page.finding.diagnosis is Diagnosis.IN_PROGRESS
    assert page.finding.explanation.startswith("On course: 9 of 100 messages have a result")
    assert [sample.counters.processed for sample in (page.samples[0], page.samples[-1])] == [0, 9]
    assert [(one.code, one.number) for one in page.failures] == [
        ("550", 1),
        ("in_doubt", 4),
        ("timeout", 2),
    ]
    assert [row.sequence for row in page.in_doubt] == [6, 8, 10, 14, 16]
    assert (page.missing_ranges[0], page.missing_ranges[-1]) == ((3, 3), (17, 100))
    assert not page.more_missing_ranges
    assert len(page.transitions) == 20
    assert page.more_transitions
    assert State(page.transitions[0].to_state) is State.SENDING
    assert page.transitions[1].reason == "look"
