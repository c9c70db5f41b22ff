"""Wrong requests: every field that is wrong is named, and nothing is done."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from closeout.errors import ClientError, InvalidArgumentError, from_rpc_error
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import Status, results


async def failure(call: Any) -> ClientError:
    """Make a call that must fail, and return how it does."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


_LONG = Timestamp(seconds=10**15)
_BAD_REQUESTS: list[tuple[str, Any, str]] = [
    ("CreateCampaign", pb.CreateCampaignRequest(campaign_id="-a"), "campaign_id"),
    ("CreateCampaign", pb.CreateCampaignRequest(campaign_id="a" * 129), "campaign_id"),
    ("CreateCampaign", pb.CreateCampaignRequest(campaign_id="a\n"), "campaign_id"),
    ("CreateCampaign", pb.CreateCampaignRequest(display_name="x" * 201), "display_name"),
    ("CreateCampaign", pb.CreateCampaignRequest(display_name="a\x00b"), "display_name"),
    ("CreateCampaign", pb.CreateCampaignRequest(channel="x" * 65), "channel"),
    ("CreateCampaign", pb.CreateCampaignRequest(request_id="r-1"), "request_id"),
    ("CreateCampaign", pb.CreateCampaignRequest(labels={"a": "x" * 64}), "labels['a']"),
    ("StartCampaign", pb.StartCampaignRequest(campaign_id="a"), "total"),
    ("StartCampaign", pb.StartCampaignRequest(total=1), "campaign_id"),
    ("StartCampaign", pb.StartCampaignRequest(campaign_id="a", total=-1), "total"),
    ("StartCampaign", pb.StartCampaignRequest(campaign_id="a", total=2**62), "total"),
    (
        "StartCampaign",
        pb.StartCampaignRequest(campaign_id="a", total=1, start_time=_LONG),
        "start_time",
    ),
    ("GetCampaign", pb.GetCampaignRequest(), "campaign_id"),
    ("PauseCampaign", pb.PauseCampaignRequest(campaign_id="a", reason="x" * 501), "reason"),
    ("ResumeCampaign", pb.ResumeCampaignRequest(campaign_id="a", reason="x" * 501), "reason"),
    ("CancelCampaign", pb.CancelCampaignRequest(campaign_id="a", reason="x" * 501), "reason"),
    ("MarkComplete", pb.MarkCompleteRequest(campaign_id="a", reason="x" * 501), "reason"),
    (
        "RepairCampaigns",
        pb.RepairCampaignsRequest(stall_threshold=Duration(seconds=0)),
        "stall_threshold",
    ),
    (
        "RepairCampaigns",
        pb.RepairCampaignsRequest(stall_threshold=Duration(seconds=10**17)),
        "stall_threshold",
    ),
    ("RepairCampaigns", pb.RepairCampaignsRequest(campaign_id="/"), "campaign_id"),
    ("ListCampaigns", pb.ListCampaignsRequest(page_size=-1), "page_size"),
    ("ListCampaigns", pb.ListCampaignsRequest(states=[0]), "states[0]"),
    ("ListCampaigns", pb.ListCampaignsRequest(states=[7]), "states[0]"),
    ("ListCampaigns", pb.ListCampaignsRequest(order=3), "order"),
    ("ListCampaigns", pb.ListCampaignsRequest(labels={"": "x"}), "labels['']"),
    ("BatchReportResults", pb.BatchReportResultsRequest(), "campaigns"),
    ("WatchCampaign", pb.WatchCampaignRequest(campaign_id="-"), "campaign_id"),
    ("ListResults", pb.ListResultsRequest(campaign_id="a", outcomes=[5]), "outcomes[0]"),
    ("ListResults", pb.ListResultsRequest(campaign_id="a", page_size=-1), "page_size"),
    ("ListMissingRanges", pb.ListMissingRangesRequest(campaign_id="a", page_size=-2), "page_size"),
    ("ListTransitions", pb.ListTransitionsRequest(campaign_id="a", page_size=-2), "page_size"),
    ("ListSamples", pb.ListSamplesRequest(), "campaign_id"),
    ("ListFailures", pb.ListFailuresRequest(campaign_id="a", outcomes=[5]), "outcomes[0]"),
    ("ExplainCampaign", pb.ExplainCampaignRequest(campaign_id="ä"), "campaign_id"),
]


async def test_each_wrong_field_is_named(status: Status) -> None:
    """A wrong request is INVALID_ARGUMENT, INVALID_REQUEST, with the field in BadRequest."""
    await status.start("a", 1)
    for method, request, field in _BAD_REQUESTS:
        call = getattr(status.stub, method)(request)
        error = await failure(call.read() if method == "WatchCampaign" else call)
        assert isinstance(error, InvalidArgumentError), (method, request, error)
        assert error.reason == "INVALID_REQUEST"
        assert set(error.field_violations) == {field}, (method, request)
        assert field in error.message


async def test_all_that_is_wrong_is_named_at_once(status: Status) -> None:
    """A caller corrects a request once, not field by field."""
    error = await failure(
        status.stub.StartCampaign(
            pb.StartCampaignRequest(campaign_id="-", start_time=_LONG, start_now=True)
        )
    )
    assert isinstance(error, InvalidArgumentError)
    assert set(error.field_violations) == {"campaign_id", "total", "start_time", "start_now"}
    frames = pb.CampaignResults(campaign_id="b", results=results([1], 0, attempt=-1))
    error = await failure(
        status.stub.BatchReportResults(
            pb.BatchReportResultsRequest(
                campaigns=[pb.CampaignResults(campaign_id="/"), frames], reporter="x" * 129
            )
        )
    )
    assert set(error.field_violations) == {
        "reporter",
        "campaigns[0].campaign_id",
        "campaigns[1].results[0].outcome",
        "campaigns[1].results[0].attempt",
    }
