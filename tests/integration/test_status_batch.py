"""BatchReportResults: results of several campaigns in one call, answered once they are stored."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from closeout.aio import StatusClient
from closeout.errors import (
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.status_support import (
    FAILED,
    PATIENCE_SECONDS,
    SENT,
    UNKNOWN,
    Status,
    eventually,
    reporting,
    results,
    status_settings,
)
from status_service.recording.batch import BatchRecorder
from status_service.recording.types import Frame, FrameReceipt
from status_service.server import running

DRAFT, SENDING, PAUSED, COMPLETED = 1, 3, 4, 5


def of(campaign_id: str, *rows: pb.Result) -> pb.CampaignResults:
    """Return results of a campaign."""
    return pb.CampaignResults(campaign_id=campaign_id, results=rows)


def counts(receipt: pb.BatchReportResultsResponse.Receipt) -> tuple[int, int, int]:
    """Return how many results were new, raised and duplicate."""
    return receipt.new_results, receipt.raised_results, receipt.duplicate_results


async def test_s7_results_are_stored_when_the_call_is_answered(status: Status) -> None:
    """One receipt for each campaign in the order of the request, with its state afterwards."""
    for name, total in (("a", 3), ("b", 2), ("c", 1)):
        await status.start(name, total)
    await status.report("a", *results([1], UNKNOWN), *results([2]))
    response = await status.client.batch_report_results(
        [
            of("c"),
            of("b", *results([1]), *results([2], FAILED)),
            of("a", *results([1, 2, 3])),
        ],
        reporter="job-7",
    )
    assert [receipt.campaign_id for receipt in response.receipts] == ["c", "b", "a"]
    assert [counts(receipt) for receipt in response.receipts] == [(0, 0, 0), (2, 0, 0), (1, 1, 1)]
    assert [receipt.HasField("rejection") for receipt in response.receipts] == [False] * 3
    states = [receipt.campaign_state for receipt in response.receipts]
    assert [(state.state, state.processed) for state in states] == [
        (SENDING, 0),
        (COMPLETED, 2),
        (COMPLETED, 3),
    ]
    for state in states:
        campaign = await status.client.get_campaign(campaign_id=state.campaign_id)
        assert campaign.revision == state.revision
    explained = await status.client.explain_campaign(campaign_id="a")
    assert explained.diagnosis.last_reporter == "job-7"


async def test_a_refused_campaign_leaves_the_others_alone(status: Status) -> None:
    """Its results are refused as a whole, with a reason, and whether trying again helps."""
    await status.client.create_campaign(campaign_id="draft")
    await status.start("a", 2)
    with capture_logs() as logs:
        response = await status.client.batch_report_results(
            [
                of("draft", *results([1])),
                of("nowhere", *results([1])),
                of("a", *results([1, 2])),
                of("draft-2"),
            ]
        )
    refused = [
        (receipt.rejection.reason, receipt.rejection.retryable) for receipt in response.receipts
    ]
    assert refused == [
        ("CAMPAIGN_NOT_SEALED", True),
        ("CAMPAIGN_NOT_FOUND", False),
        ("", False),
        ("CAMPAIGN_NOT_FOUND", False),
    ]
    assert [receipt.campaign_state.state for receipt in response.receipts] == [
        DRAFT,
        0,
        COMPLETED,
        0,
    ]
    assert [receipt.HasField("campaign_state") for receipt in response.receipts] == [
        True,
        False,
        True,
        False,
    ]
    assert [line["campaign_id"] for line in logs if line["event"] == "results_rejected"] == [
        "draft"
    ]
    await status.start("b", 2)
    response = await status.client.batch_report_results(
        [of("b", *results([1, 3])), of("a", *results([1]))]
    )
    assert response.receipts[0].rejection.reason == "SEQUENCE_OUT_OF_RANGE"
    assert counts(response.receipts[1]) == (0, 0, 1)
    assert (await status.client.get_campaign(campaign_id="b")).processed == 0


async def test_a_call_of_which_everything_is_refused_fails(status: Status) -> None:
    """With the error of the first: who looks at the status alone does not lose a refusal."""
    await status.client.create_campaign(campaign_id="draft")
    with pytest.raises(NotFoundError) as missing:
        await status.client.batch_report_results([of("nowhere"), of("draft", *results([1]))])
    assert missing.value.reason == "CAMPAIGN_NOT_FOUND"
    with pytest.raises(FailedPreconditionError) as unsealed:
        await status.client.batch_report_results([of("draft", *results([1])), of("nowhere")])
    assert unsealed.value.reason == "CAMPAIGN_NOT_SEALED"


async def test_a_call_that_is_refused_as_a_whole_is_logged(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a refused frame of a stream is: whatever reason the caller received."""
    monkeypatch.setattr("service_runtime.sampled_log._BETWEEN_LINES", 0.0)
    await status.client.create_campaign(campaign_id="draft")
    for call, expected in (
        ([of("draft", *results([1]))], ("draft", "CAMPAIGN_NOT_SEALED")),
        ([of("nowhere"), of("draft", *results([1]))], ("nowhere", "CAMPAIGN_NOT_FOUND")),
        ([of("a", *results([1], 0))], ("a", "INVALID_REQUEST")),
        ([of("-" * 1_000)], ("-" * 128, "INVALID_REQUEST")),
        ([], ("", "INVALID_REQUEST")),
    ):
        with capture_logs() as logs, pytest.raises(ClientError):
            await status.client.batch_report_results(call)
        lines = [line for line in logs if line["event"] == "results_rejected"]
        assert (lines[0]["campaign_id"], lines[0]["reason"]) == expected


async def test_a_wrong_field_refuses_the_call_and_nothing_is_stored(status: Status) -> None:
    """Also what is right in it is not stored."""
    await status.start("a", 2)
    with pytest.raises(InvalidArgumentError) as caught:
        await status.client.batch_report_results(
            [of("a", *results([1])), of("b", *results([1], 0))]
        )
    assert set(caught.value.field_violations) == {"campaigns[1].results[0].outcome"}
    assert (await status.client.get_campaign(campaign_id="a")).processed == 0


async def test_s2_calls_in_any_order_and_number_end_in_the_same_rows(status: Status) -> None:
    """Each call one to three times, reordered, at once with others and with a stream."""
    chance = random.Random(8)  # noqa: S311 - the order of calls, not a secret
    names = [f"c{number}" for number in range(5)]
    for name in names:
        await status.start(name, 60)
    calls = [
        [of(name, *results(range(first, first + 12), outcome)) for name in names]
        for first in range(1, 60, 12)
        for outcome in (SENT, FAILED)
    ]
    calls = [call for call in calls for _ in range(chance.randint(1, 3))]
    chance.shuffle(calls)
    async with reporting(status.client) as stream, asyncio.TaskGroup() as group:
        calling = [group.create_task(status.client.batch_report_results(call)) for call in calls]
        for name in names:
            await stream.send(name, *results(range(1, 61), UNKNOWN))
        await stream.acked(len(names))
    receipts = [receipt for call in calling for receipt in call.result().receipts]
    assert sum(map(sum, map(counts, receipts))) == 60 * len(calls)
    assert sum(receipt.new_results for receipt in receipts) + stream.counts[0] == 300
    for name in names:
        campaign = await status.client.get_campaign(campaign_id=name)
        assert (campaign.state, campaign.sent) == (COMPLETED, 60)
    # What the fixture checks at the end knows nothing of what was raised late.
    status.check_invariants(raised_late=[(name, n) for name in names for n in range(1, 61)])
    status.execute("UPDATE results SET record_time = 0")


async def test_the_largest_call_is_taken(status: Status) -> None:
    """100 campaigns and 1,000 results: as many writers as there are, one answer."""
    names = [f"c{number}" for number in range(100)]
    await asyncio.gather(*(status.start(name, 10) for name in names))
    call = [of(name, *results(range(1, 11))) for name in names]
    for new in (10, 0):
        response = await status.client.batch_report_results(call)
        assert [counts(receipt) for receipt in response.receipts] == [(new, 0, 10 - new)] * 100
        assert {receipt.campaign_state.state for receipt in response.receipts} == {COMPLETED}


async def test_s7_what_a_caller_did_not_wait_for_is_stored(status: Status) -> None:
    """A call that ran out of time is repeated, and counts once; streams hear of it."""
    await status.start("a", 2)
    request = pb.BatchReportResultsRequest(campaigns=[of("a", *results([1, 2]))])
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.acked(1)
        with capture_logs() as logs, status.database.held():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status.stub.BatchReportResults(request, timeout=0.5)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await stream.announced("a", COMPLETED)
    response = await status.stub.BatchReportResults(request)
    assert counts(response.receipts[0]) == (0, 0, 2)
    assert not [line for line in logs if line["log_level"] in {"error", "critical"}]


async def test_a_stop_ends_a_call_that_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNAVAILABLE, SHUTTING_DOWN, at once: the caller repeats it elsewhere or later."""
    taken = asyncio.Event()
    record = BatchRecorder.record

    async def noted(self: BatchRecorder, frames: Sequence[Frame]) -> list[FrameReceipt]:
        taken.set()
        return await record(self, frames)

    monkeypatch.setattr(BatchRecorder, "record", noted)
    async with AsyncExitStack() as clients:
        with ExitStack() as locks:

            async def failed(client: StatusClient) -> Any:
                try:
                    with pytest.raises(UnavailableError) as caught:
                        await client.batch_report_results([of("a", *results([1]))])
                finally:
                    locks.close()
                return caught.value

            async with running(status_settings(database)) as service:
                # One that does not try again by itself.
                channel = grpc.aio.insecure_channel(
                    service.address, options=[("grpc.enable_retries", 0)]
                )
                client = StatusClient(await clients.enter_async_context(channel))
                await client.create_campaign(campaign_id="a")
                await client.start_campaign(campaign_id="a", total=1)
                locks.enter_context(database.held())
                call = asyncio.create_task(failed(client))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await taken.wait()
            assert (await call).reason == "SHUTTING_DOWN"


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("impatient")
async def test_a_locked_campaign_is_refused_and_holds_up_no_other(
    database: Database, status: Status
) -> None:
    """CAMPAIGN_BUSY, retryable; a call with that campaign alone is UNAVAILABLE."""
    await status.start("a", 1)
    await status.start("b", 1)
    with database.by_hand() as by_hand:
        by_hand.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'a' FOR UPDATE")
        response = await status.client.batch_report_results(
            [of("a", *results([1])), of("b", *results([1]))]
        )
        rejection = response.receipts[0].rejection
        assert (rejection.reason, rejection.retryable) == ("CAMPAIGN_BUSY", True)
        assert counts(response.receipts[1]) == (1, 0, 0)
        with pytest.raises(UnavailableError) as caught:
            await status.client.batch_report_results([of("a", *results([1]))])
        assert caught.value.reason == "CAMPAIGN_BUSY"
        assert caught.value.retry_after_seconds

    async def taken() -> bool:
        response = await status.client.batch_report_results([of("a", *results([1]))])
        return counts(response.receipts[0]) == (1, 0, 0)

    await eventually(taken, what="it is taken once the row is free")
