"""S13: a campaign of another organisation and one that does not exist get the same answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from closeout.status.v1 import status_pb2 as pb
from integration.status_support import Status, reporting, results

_CALLS: list[tuple[str, Callable[[str], Any]]] = [
    ("StartCampaign", lambda name: pb.StartCampaignRequest(campaign_id=name, total=2)),
    ("GetCampaign", lambda name: pb.GetCampaignRequest(campaign_id=name)),
    ("ListResults", lambda name: pb.ListResultsRequest(campaign_id=name)),
    ("ListMissingRanges", lambda name: pb.ListMissingRangesRequest(campaign_id=name)),
    ("PauseCampaign", lambda name: pb.PauseCampaignRequest(campaign_id=name)),
    ("ResumeCampaign", lambda name: pb.ResumeCampaignRequest(campaign_id=name)),
    ("CancelCampaign", lambda name: pb.CancelCampaignRequest(campaign_id=name)),
    ("MarkComplete", lambda name: pb.MarkCompleteRequest(campaign_id=name)),
    (
        "MarkComplete",
        lambda name: pb.MarkCompleteRequest(campaign_id=name, force=True, reason="x", revision=1),
    ),
    (
        "BatchReportResults",
        lambda name: pb.BatchReportResultsRequest(
            campaigns=[pb.CampaignResults(campaign_id=name, results=results([1]))]
        ),
    ),
    ("DeleteCampaign", lambda name: pb.DeleteCampaignRequest(campaign_id=name)),
    ("RepairCampaigns", lambda name: pb.RepairCampaignsRequest(campaign_id=name)),
    ("ExplainCampaign", lambda name: pb.ExplainCampaignRequest(campaign_id=name)),
    ("ListTransitions", lambda name: pb.ListTransitionsRequest(campaign_id=name)),
    ("ListSamples", lambda name: pb.ListSamplesRequest(campaign_id=name)),
    ("ListFailures", lambda name: pb.ListFailuresRequest(campaign_id=name)),
]
_ABSENT, _FOREIGN = "other-1", "other-2"  # of the same length, so that answers can be compared


@pytest.fixture
async def foreign(status: Status) -> AsyncIterator[Status]:
    """A service with a campaign of another organisation, stuck, beside one of ours."""
    await status.stuck(_FOREIGN)
    await status.start("ours", 3)
    status.execute("UPDATE campaigns SET organisation = 'rival' WHERE campaign_id = ?", _FOREIGN)
    yield status
    # What is stuck is mended for the check at the end.
    status.execute(
        "UPDATE campaigns SET organisation = 'default', campaign_id = 'theirs'"
        " WHERE organisation = 'rival'"
    )
    await status.client.repair_campaigns()


def dump(status: Status) -> list[Any]:
    """Return all that the database has of the other organisation."""
    with status.database.by_hand() as connection:
        rows = connection.execute("SELECT * FROM campaigns WHERE organisation = 'rival'").fetchall()
        (number,) = {row["campaign"] for row in rows}
        for table in ("results", "transitions"):
            rows += connection.execute(
                f"SELECT * FROM {table} WHERE campaign = ? ORDER BY 1, 2",  # noqa: S608
                (number,),
            ).fetchall()
    return [tuple(row) for row in rows]


def _answer(error: grpc.aio.AioRpcError) -> tuple[Any, ...]:
    trailers = [
        (key, value if isinstance(value, bytes) else value.encode())
        for key, value in error.trailing_metadata() or ()
    ]
    details = (error.details() or "").encode()
    return error.code(), details, sorted(trailers)


@pytest.mark.parametrize(
    ("method", "request_of"), _CALLS, ids=[f"{row[0]}{n}" for n, row in enumerate(_CALLS)]
)
async def test_s13_no_call_distinguishes_a_foreign_campaign_from_an_absent_one(
    foreign: Status, method: str, request_of: Callable[[str], Any]
) -> None:
    """Both are NOT_FOUND, byte for byte the same but for the id, and nothing changes."""
    before = dump(foreign)
    answers = []
    for name in (_ABSENT, _FOREIGN):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(foreign.stub, method)(request_of(name))
        code, details, trailers = _answer(caught.value)
        answers.append(
            (
                code,
                details.replace(name.encode(), b"NAME"),
                [(key, value.replace(name.encode(), b"NAME")) for key, value in trailers],
            )
        )
    assert answers[0][0] == grpc.StatusCode.NOT_FOUND
    assert answers[0] == answers[1]
    assert dump(foreign) == before


async def test_s13_a_watch_of_a_foreign_campaign_is_not_found(foreign: Status) -> None:
    """WatchCampaign answers a foreign campaign like an absent one."""
    for name in (_ABSENT, _FOREIGN):
        call = foreign.stub.WatchCampaign(pb.WatchCampaignRequest(campaign_id=name))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == f"campaign {name!r} not found"


async def test_s13_results_for_a_foreign_campaign_are_rejected_and_nothing_is_stored(
    foreign: Status,
) -> None:
    """On a stream too a foreign campaign is not found, and its changes are not pushed."""
    before = dump(foreign)
    async with reporting(foreign.client) as stream:
        for name in (_ABSENT, _FOREIGN):
            await stream.send(name, *results([1]))
            await stream.send(name)
        await stream.acked(4)
        assert {reason for _, _, reason in stream.rejections} == {"CAMPAIGN_NOT_FOUND"}
        assert not stream.states
        assert stream.counts == (0, 0, 0)
    assert dump(foreign) == before


async def test_s13_lists_and_repairs_have_ones_own_campaigns_only(foreign: Status) -> None:
    """ListCampaigns, in any order, and RepairCampaigns see nothing of another organisation."""
    before = dump(foreign)
    for stuck_first in (False, True):
        listed = foreign.client.list_campaigns(stuck_first=stuck_first)
        assert [row.campaign_id async for row in listed] == ["ours"]
    found = (await foreign.client.repair_campaigns()).diagnoses
    assert [diagnosis.campaign.campaign_id for diagnosis in found] == ["ours"]
    assert dump(foreign) == before


async def test_s13_labels_find_ones_own_campaigns_only(status: Status) -> None:
    """ListCampaigns by labels that both organisations use."""
    for name in ("ours", _FOREIGN):
        await status.client.create_campaign(campaign_id=name, labels={"list": "news"})
    for table in ("campaigns", "campaign_labels"):
        status.execute(
            f"UPDATE {table} SET organisation = 'rival' WHERE campaign ="  # noqa: S608
            " (SELECT campaign FROM campaigns WHERE campaign_id = ?)",
            _FOREIGN,
        )
    listed = status.client.list_campaigns(labels={"list": "news"})
    assert [row.campaign_id async for row in listed] == ["ours"]


async def test_s13_two_organisations_may_use_one_id(foreign: Status) -> None:
    """An id taken by another organisation is free, and what happens to it stays here."""
    before = dump(foreign)
    created = await foreign.client.create_campaign(campaign_id=_FOREIGN)
    assert created.created
    await foreign.client.start_campaign(campaign_id=_FOREIGN, total=1)
    await foreign.report(_FOREIGN, *results([1]))
    assert (await foreign.client.get_campaign(campaign_id=_FOREIGN)).total == 1
    assert dump(foreign) == before
