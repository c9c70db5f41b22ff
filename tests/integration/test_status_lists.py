"""Lists in pages: each row once and in order, with tokens bound to their question."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from closeout.errors import InvalidArgumentError, from_rpc_error
from closeout.status.v1 import status_pb2 as pb
from integration.databases import PATIENCE_SECONDS
from integration.status_support import FAILED, SENT, Status, results
from service_runtime.pages import _digest
from service_runtime.validation import LARGEST_PAGE
from status_service.recording import gaps


@pytest.fixture
async def filled(status: Status) -> Status:
    """Seven campaigns; "a" has gaps, both outcomes and a long audit trail."""
    for name in "abcdefg":
        await status.start(name, 40)
    await status.report("a", *results(range(1, 40, 3)), *results(range(2, 40, 6), FAILED))
    for _ in range(3):
        await status.client.pause_campaign(campaign_id="a")
        await status.client.resume_campaign(campaign_id="a")
    return status


_Request = Callable[..., Any]
_LISTS: list[tuple[str, _Request, str, Callable[[Any], Any], int]] = [
    ("ListCampaigns", pb.ListCampaignsRequest, "campaigns", lambda row: row.campaign_id, 7),
    (
        "ListResults",
        lambda **fields: pb.ListResultsRequest(campaign_id="a", **fields),
        "results",
        lambda row: row.sequence,
        20,
    ),
    (
        "ListMissingRanges",
        lambda **fields: pb.ListMissingRangesRequest(campaign_id="a", **fields),
        "ranges",
        lambda row: (row.first, row.last),
        13,
    ),
    (
        "ListTransitions",
        lambda **fields: pb.ListTransitionsRequest(campaign_id="a", **fields),
        "transitions",
        lambda row: row.to_state,
        8,
    ),
]


async def pages(status: Status, method: str, request: _Request, rows: str, size: int) -> list[Any]:
    """Return all pages of a list, as lists of rows."""
    found = []
    token = ""
    while True:
        page = await getattr(status.stub, method)(request(page_size=size, page_token=token))
        found.append(list(getattr(page, rows)))
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("listed", _LISTS, ids=[row[0] for row in _LISTS])
async def test_pages_of_any_size_have_the_same_rows(
    filled: Status, listed: tuple[str, _Request, str, Callable[[Any], Any], int]
) -> None:
    """Pages are full but for the last, and together they are the list, without a repeat."""
    method, request_of, rows, key, count = listed
    (whole,) = await pages(filled, method, request_of, rows, 0)
    assert len(whole) == count
    for size in (1, 3, count - 1, count, count + 1):
        found = await pages(filled, method, request_of, rows, size)
        assert [key(row) for page in found for row in page] == [key(row) for row in whole]
        assert all(len(page) == size for page in found[:-1])
        assert found[-1], "no empty page at the end"


async def test_a_token_is_refused_for_another_question(filled: Status) -> None:
    """A token of one list, campaign or filter is INVALID_ARGUMENT in every other question."""
    stub = filled.stub
    token = {
        method: (await getattr(stub, method)(request_of(page_size=1))).next_page_token
        for method, request_of, *_ in _LISTS
    }
    assert len(set(token.values())) == len(_LISTS)
    wrong = [
        stub.ListResults(pb.ListResultsRequest(campaign_id="b", page_token=token["ListResults"])),
        stub.ListResults(
            pb.ListResultsRequest(campaign_id="a", outcomes=[SENT], page_token=token["ListResults"])
        ),
        stub.ListCampaigns(pb.ListCampaignsRequest(states=[3], page_token=token["ListCampaigns"])),
        stub.ListCampaigns(
            pb.ListCampaignsRequest(labels={"a": ""}, page_token=token["ListCampaigns"])
        ),
        stub.ListCampaigns(
            pb.ListCampaignsRequest(
                order=pb.ListCampaignsRequest.STUCK_FIRST, page_token=token["ListCampaigns"]
            )
        ),
        *(
            getattr(stub, method)(request_of(page_token=foreign))
            for method, request_of, *_ in _LISTS
            for other, foreign in token.items()
            if other != method
        ),
    ]
    for call in wrong:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidArgumentError), error
        assert set(error.field_violations) == {"page_token"}


def _forged(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


async def test_no_token_that_is_made_up_does_harm(filled: Status) -> None:
    """Whatever is sent as a token is INVALID_ARGUMENT or a page, never a failure of ours."""
    question = _digest(["campaigns", "default", [], [], False])
    made_up = [
        "x",
        "====",
        "ä" * 9,
        "a" * 100_000,
        _forged(5),
        _forged({}),
        _forged(None),
        _forged([]),
        _forged([question]),
        _forged([question, None]),
        _forged([question, []]),
        _forged([question, [1]]),
        _forged([question, [1, 2, 3]]),
        _forged([question, ["1", "2"]]),
        _forged([question, [1.5, 2]]),
        _forged([question, [True, 1]]),
        _forged([question, [2**63, 1]]),
        base64.urlsafe_b64encode(b"[" * 3_000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ]
    for token in made_up:
        for method, request_of, *_ in _LISTS:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(filled.stub, method)(request_of(page_token=token))
            error = from_rpc_error(caught.value)
            assert isinstance(error, InvalidArgumentError), (method, token[:80], error)


async def test_a_token_beyond_the_largest_key_is_refused(filled: Status) -> None:
    """It names this very list, and is still no failure of ours."""
    for method, question, request_of in (
        ("ListResults", ["results", "default", "a", []], pb.ListResultsRequest),
        ("ListMissingRanges", ["missing", "default", "a"], pb.ListMissingRangesRequest),
        ("ListTransitions", ["transitions", "default", "a"], pb.ListTransitionsRequest),
    ):
        for key in (-1, -(2**63) + 1, 2**63 - 1):
            request = request_of(campaign_id="a", page_token=_forged([_digest(question), [key]]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(filled.stub, method)(request)
            error = from_rpc_error(caught.value)
            assert isinstance(error, InvalidArgumentError), (method, key, error)


async def test_the_newest_campaign_comes_first_and_states_filter(filled: Status) -> None:
    """Campaigns come newest first; with states only those in them."""
    names = [row.campaign_id async for row in filled.client.list_campaigns(page_size=2)]
    assert names == list("gfedcba")
    await filled.client.pause_campaign(campaign_id="c")
    await filled.client.cancel_campaign(campaign_id="e")
    chosen = filled.client.list_campaigns(states=[pb.Campaign.PAUSED, pb.Campaign.CANCELLED])
    assert [row.campaign_id async for row in chosen] == ["e", "c"]


async def test_labels_filter(status: Status) -> None:
    """Only campaigns that have all labels with these values, in any order, over pages."""
    labelled: dict[str, dict[str, str]] = {
        "a": {"tenant": "x", "list": "news"},
        "b": {"tenant": "x"},
        "c": {},
        "d": {"tenant": "y", "list": "news"},
        "e": {"tenant": "x", "list": "news", "ticket": ""},
        "f": {"list": "x", "tenant": "news"},
    }
    for name, labels in labelled.items():
        await status.client.create_campaign(campaign_id=name, labels=labels)
        await status.client.start_campaign(campaign_id=name, total=1)
    expected = [
        ({"tenant": "x"}, "eba"),
        ({"tenant": "x", "list": "news"}, "ea"),
        ({"ticket": ""}, "e"),
        ({"tenant": "X"}, ""),
        ({"tenant": "x", "list": "none"}, ""),
        ({}, "fedcba"),
    ]
    for labels, names in expected:
        for stuck_first in (False, True):
            listed = status.client.list_campaigns(
                labels=labels, page_size=2, stuck_first=stuck_first
            )
            found = [row.campaign_id async for row in listed]
            assert found == (sorted(names) if stuck_first else list(names))
    await status.client.pause_campaign(campaign_id="a")
    paused = status.client.list_campaigns(labels={"tenant": "x"}, states=[pb.Campaign.PAUSED])
    (campaign,) = [row async for row in paused]
    assert dict(campaign.labels) == labelled["a"]
    assert campaign == await status.client.get_campaign(campaign_id="a")


async def test_the_campaign_longest_without_progress_comes_first(filled: Status) -> None:
    """Stuck first: the open campaigns, the one whose last new result is oldest first."""
    await filled.report("c", *results([1]))
    await filled.client.cancel_campaign(campaign_id="b")
    listed = filled.client.list_campaigns(stuck_first=True, page_size=2)
    assert [row.campaign_id async for row in listed] == ["d", "e", "f", "g", "a", "c"]


async def test_results_of_some_outcomes(filled: Status) -> None:
    """ListResults with outcomes has those alone, in order, over pages."""
    failed = filled.client.list_results(campaign_id="a", outcomes=[FAILED], page_size=2)
    assert [row.sequence async for row in failed] == list(range(2, 40, 6))
    both = filled.client.list_results(campaign_id="a", outcomes=[SENT, FAILED], page_size=7)
    assert len([row async for row in both]) == 20


async def test_a_result_comes_back_as_it_was_reported(status: Status) -> None:
    """Every field of a result is kept, also its time to the microsecond."""
    given = pb.Result(
        sequence=1,
        outcome=FAILED,
        attempt=3,
        code="550",
        detail="no such user: жук",
        provider_message_id="<1@example.com>",
    )
    given.finish_time.FromJsonString("1969-12-31T23:59:58.123456Z")
    await status.start("a", 1)
    await status.report("a", given)
    assert [row async for row in status.client.list_results(campaign_id="a")] == [given]


async def test_the_largest_page_of_the_longest_results_fits_a_message(status: Status) -> None:
    """A full page of results with every text at its longest can be sent and read."""
    await status.start("a", LARGEST_PAGE + 1)
    text = {"code": "𝄞" * 64, "detail": "𝄞" * 500, "provider_message_id": "𝄞" * 255}
    await status.report("a", *results(range(1, LARGEST_PAGE + 1), **text))
    request = pb.ListResultsRequest(campaign_id="a", page_size=5 * LARGEST_PAGE)
    # The usual deadline of a client is short for so much where many tests run beside it.
    page = await status.stub.ListResults(request, timeout=PATIENCE_SECONDS)
    assert [row.sequence for row in page.results] == list(range(1, LARGEST_PAGE + 1))
    assert page.ByteSize() > 3 * 1024 * 1024
    assert not page.next_page_token


@pytest.mark.parametrize("letter", ["x", "𝄞"], ids=["short", "long"])
async def test_campaigns_with_the_longest_labels_fit_a_message(status: Status, letter: str) -> None:
    """A page ends early, and every campaign comes once; a repair counts all it does not show."""
    number = 300 if letter == "𝄞" else 1_050
    labels = {f"{index:02}{letter * 61}": letter * 63 for index in range(32)}
    await status.start("a", 1)
    label = json.dumps(labels)
    status.execute("UPDATE campaigns SET labels = ?", label)
    status.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        " INSERT INTO campaigns (organisation, campaign_id, state, total, sent, failed, skipped,"
        " unknown, revision, display_name, channel, last_reporter, create_time, start_time, labels)"
        " SELECT 'default', 'more-' || n, 'PAUSED', 1, 0, 0, 0, 0, 1, '', '', '', n, n, ?"
        " FROM numbers",
        number,
        label,
    )
    page = await status.stub.ListCampaigns(pb.ListCampaignsRequest(page_size=1_000))
    assert 50 < len(page.campaigns) < min(number, 1_000)
    listed = [row async for row in status.client.list_campaigns(page_size=1_000)]
    expected = ["a", *(f"more-{n}" for n in range(number, 0, -1))]
    assert [row.campaign_id for row in listed] == expected
    assert all(row.labels == labels for row in listed)
    status.execute("UPDATE campaigns SET sent = 1 WHERE campaign_id = 'a'")
    found = await status.client.repair_campaigns(dry_run=True)
    assert (found.open_campaigns, found.repaired_campaigns) == (number + 1, 1)
    assert 50 < len(found.diagnoses) < number
    assert found.diagnoses[0].campaign.campaign_id == "a"
    # Made by hand, without an audit trail: not for the check of what always holds.
    status.execute("DELETE FROM campaigns WHERE campaign_id LIKE 'more-%'")
    status.execute("UPDATE campaigns SET sent = 0")


async def test_missing_ranges_come_in_pages_that_look_at_a_bounded_number_of_results(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every range comes once and whole, however they lie in the parts that are looked at."""
    monkeypatch.setattr("status_service.recording.gaps._WINDOW", 4)
    monkeypatch.setattr("status_service.recording.gaps.PAGE_WINDOWS", 1)
    await status.start("a", 40)
    await status.report("a", *results([*range(1, 14), 15, 16, 20, *range(24, 39)]))
    found = [gap async for gap in status.client.list_missing_ranges(campaign_id="a")]
    expected = [(14, 14), (17, 19), (21, 23), (39, 40)]
    assert [(gap.first, gap.last) for gap in found] == expected
    request = pb.ListMissingRangesRequest(campaign_id="a")
    page = await status.stub.ListMissingRanges(request)
    assert not page.ranges
    assert page.next_page_token
    monkeypatch.setattr("status_service.recording.gaps.PAGE_WINDOWS", 100)
    for size in (1, 2, 3):
        found = [
            gap async for gap in status.client.list_missing_ranges(campaign_id="a", page_size=size)
        ]
        assert [(gap.first, gap.last) for gap in found] == expected


async def test_a_campaign_without_a_total_has_no_missing_ranges(status: Status) -> None:
    """Of a DRAFT nothing is missing, and nothing is listed."""
    await status.client.create_campaign(campaign_id="a")
    assert [gap async for gap in status.client.list_missing_ranges(campaign_id="a")] == []
    assert [row async for row in status.client.list_results(campaign_id="a")] == []


async def test_b1_two_explanations_at_once_hold_up_nobody(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GetCampaign is answered while two calls look for missing ranges, which may take long."""
    await status.start("a", 5)
    over, looking = threading.Event(), threading.Semaphore(0)
    find = gaps.find

    def slow(*arguments: Any, **options: Any) -> gaps.Gaps:
        looking.release()
        assert over.wait(20)
        return find(*arguments, **options)

    monkeypatch.setattr(gaps, "find", slow)
    calls = [asyncio.create_task(status.client.explain_campaign(campaign_id="a")) for _ in range(2)]
    try:
        for _ in calls:
            assert await asyncio.to_thread(looking.acquire, timeout=20)
        campaign = await status.client.get_campaign(campaign_id="a")
        assert campaign.pending == 5
        assert not any(call.done() for call in calls)
    finally:
        over.set()
    for call in calls:
        assert [gap.last for gap in (await call).missing_ranges] == [5]


async def test_b1_nothing_is_looked_for_where_nothing_is_missing(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The explanation of a full campaign does not look for missing ranges."""
    await status.start("a", 2)
    await status.report("a", *results([1, 2]))

    def unexpected(*_: Any, **__: Any) -> gaps.Gaps:
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(gaps, "find", unexpected)
    explained = await status.client.explain_campaign(campaign_id="a")
    assert (list(explained.missing_ranges), explained.more_missing_ranges) == ([], False)
