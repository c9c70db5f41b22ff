"""For whom a caller says that it acts."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

import closeout
from closeout.aio import StatusClient
from closeout.errors import (
    InvalidArgumentError,
    from_rpc_error,
)
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import (
    Status,
    results,
)


async def test_the_audit_trail_says_for_whom_a_caller_acted(status: Status) -> None:
    """Each change of a client that says so has it, also in the log; others have nothing."""
    with capture_logs() as logs:
        async with StatusClient(status.address, on_behalf_of="ops@desk") as acting:
            await acting.create_campaign(campaign_id="a")
            await acting.start_campaign(campaign_id="a", total=2)
            await acting.pause_campaign(campaign_id="a", reason="wait")
            await status.client.resume_campaign(campaign_id="a")
            await acting.report(results([1]), campaign_id="a")
        with closeout.StatusClient(status.address, on_behalf_of="cron@desk") as blocking:
            await asyncio.to_thread(blocking.cancel_campaign, campaign_id="a")
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    said = [step.on_behalf_of for step in trail]
    assert said == ["ops@desk", "ops@desk", "ops@desk", "", "cron@desk"]
    assert all(step.actor.startswith("ipv4:127.0.0.1:") for step in trail), (
        "as the service knows it"
    )
    changes = [line for line in logs if line["event"] == "campaign_state_changed"]
    assert [line.get("on_behalf_of", "") for line in changes] == said


async def test_a_claim_that_is_too_long_is_refused(status: Status) -> None:
    """INVALID_ARGUMENT names the metadata entry, and nothing is done; the longest one is taken."""
    request = pb.CreateCampaignRequest(campaign_id="a")
    entry = "closeout-on-behalf-of"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status.stub.CreateCampaign(request, metadata=((entry, "x" * 129),))
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgumentError)
    assert set(error.field_violations) == {entry}
    assert (await status.stub.CreateCampaign(request, metadata=((entry, "x" * 128),))).created
