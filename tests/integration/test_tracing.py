"""Spans of calls, requests, transactions and deliveries, from a caller to the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import sqlalchemy as sa
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan

import closeout
from closeout.aio.channel import open_channel
from closeout.errors import NotFoundError, UnavailableError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import events_pb2
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1.events_pb2_grpc import EventServiceStub
from integration.databases import Database
from integration.http_support import calling
from integration.key_support import credentials, make_key
from integration.sender_pair import pair
from integration.status_support import Status, reporting, results, serving
from integration.traces import SENDER, STATUS, Traces, id_of, trace_of, tracing_on
from providers.event_receiver import receiving
from service_runtime import tracing
from service_runtime.database import Store
from service_runtime.errors import StoreUnavailableError
from status_service.migrations import MIGRATIONS

LONG_REPORTER = "reporter-of-the-test"


@pytest.fixture
def traces() -> Iterator[Traces]:
    """The spans of services that begin in the test."""
    with tracing_on() as found:
        yield found


@pytest.fixture
async def status(traces: Traces, database: Database) -> AsyncIterator[Status]:
    """A status service that is traced."""
    assert traces
    async with serving(database) as service:
        yield service


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return what a span says."""
    return dict(span.attributes or {})


async def test_a_call_is_a_span_with_its_transactions_below_it(
    status: Status, traces: Traces
) -> None:
    """It has the names of the conventions, its campaign, its organisation and its code."""
    await status.client.create_campaign(campaign_id="spring")
    call = await traces.one(f"{STATUS}/CreateCampaign", "SERVER")
    assert attributes(call) == {
        "rpc.system": "grpc",
        "rpc.service": STATUS,
        "rpc.method": "CreateCampaign",
        "rpc.grpc.status_code": 0,
        "closeout.organisation": "default",
        "closeout.campaign_id": "spring",
    }
    assert call.parent is None
    (written,) = (one for one in traces.below(call) if one.name.startswith("registration."))
    assert written.kind.name == "CLIENT"
    said = attributes(written)
    assert said["db.system.name"] == status.database.url.partition(":")[0].partition("+")[0]
    assert said["db.operation.name"] == written.name
    assert said["closeout.wait_seconds"] >= 0
    assert written.status.is_ok


async def test_a_refused_call_has_its_code_and_reason_and_is_no_failed_span(
    status: Status, traces: Traces
) -> None:
    """``abort`` ends a span with the code of the caller, and NOT_FOUND is an answer."""
    with pytest.raises(NotFoundError):
        await status.client.get_campaign(campaign_id="nowhere")
    call = await traces.one(f"{STATUS}/GetCampaign", "SERVER")
    assert attributes(call)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert attributes(call)["error.type"] == "CAMPAIGN_NOT_FOUND"
    assert call.status.is_unset
    (read,) = (
        one for one in traces.below(call) if one.name == "service.CampaignViews.get_with_pace"
    )
    assert attributes(read)["error.type"] == "CAMPAIGN_NOT_FOUND"
    assert read.status.is_unset


async def test_streams_end_with_their_status(status: Status, traces: Traces) -> None:
    """A watch that reaches the end is OK; a stream that its client cancels is CANCELLED."""
    await status.start("spring", 1)
    await status.report("spring", *results([1]))
    stream = await traces.one(f"{STATUS}/ReportResults", "SERVER")
    assert attributes(stream)["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]
    assert stream.status.is_unset
    async for _ in status.client.watch_campaign(campaign_id="spring"):
        pass
    watch = await traces.one(f"{STATUS}/WatchCampaign", "SERVER")
    assert attributes(watch)["rpc.grpc.status_code"] == 0
    assert attributes(watch)["closeout.campaign_id"] == "spring"


async def test_a_commit_is_one_span_with_a_link_to_each_stream(
    status: Status, traces: Traces
) -> None:
    """Frames of many calls are one transaction, so they are its links and not its parents."""
    await status.start("spring", 3)
    async with reporting(status.client) as stream:
        await stream.send("spring", *results([1, 2]))
        await stream.acked(1)
        commit = await traces.one("ledger.record", "CLIENT")
    await status.client.report(results([3]), campaign_id="spring", reporter="tester")
    call = await traces.one(f"{STATUS}/ReportResults", "SERVER")
    assert commit.parent is None
    assert [link.context.span_id for link in commit.links] == [id_of(call)]
    assert attributes(commit)["closeout.frames"] == 1
    assert attributes(commit)["closeout.results"] == 2


async def test_the_context_goes_from_a_caller_over_the_sender_to_the_status_service(
    traces: Traces, tmp_path: Path
) -> None:
    """CreateCampaign and StartCampaign are one trace each, over three processes' worth of spans."""
    async with pair(tmp_path) as both:
        with traces.application.start_as_current_span("send the newsletter") as root:
            await both.begin("spring", 3)
        await both.ended("spring")
        await both.finished("spring")
        for name in ("CreateCampaign", "StartCampaign"):
            at_sender = await traces.one(f"{SENDER}/{name}", "SERVER")
            call = await traces.one(f"{STATUS}/{name}", "CLIENT")
            at_status = await traces.one(f"{STATUS}/{name}", "SERVER")
            assert at_sender.parent is not None
            assert at_sender.parent.span_id == root.get_span_context().span_id
            assert call.parent is not None
            assert call.parent.span_id == id_of(at_sender)
            assert at_status.parent is not None
            assert at_status.parent.span_id == id_of(call)
            assert trace_of(at_status) == root.get_span_context().trace_id
            assert attributes(call)["closeout.campaign_id"] == "spring"
            assert attributes(call)["rpc.grpc.status_code"] == 0
        upload = await traces.one(f"{SENDER}/UploadRecipients", "SERVER")
        assert trace_of(upload) == root.get_span_context().trace_id
        shard = await traces.one("deliver shard")
        assert shard.parent is None, "a campaign is sent long after its start"
        assert attributes(shard)["closeout.campaign_id"] == "spring"
        assert attributes(shard)["closeout.messages.sent"] == 3
        assert [one for one in traces.below(shard) if one.name == "shards.advance"]


@pytest.mark.usefixtures("seldom_repeated")
async def test_a_failed_call_of_the_sender_is_a_failed_span(traces: Traces, tmp_path: Path) -> None:
    """The span of kind client has the code that the status service did not answer with."""
    async with pair(tmp_path) as both:
        await both.stop_status()
        with pytest.raises(UnavailableError):
            await both.sender.create_campaign(
                campaign_id="spring",
                channel="scripted",
                body=sender_pb2.EmailContent(subject="Hello"),
            )
        call = await traces.one(f"{STATUS}/CreateCampaign", "CLIENT")
        assert call.status.status_code.name == "ERROR"
        assert attributes(call)["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]
        answer = await traces.one(f"{SENDER}/CreateCampaign", "SERVER")
        assert answer.status.status_code.name == "ERROR"
        assert attributes(answer)["error.type"] == "STATUS_SERVICE_UNAVAILABLE"


async def test_the_clients_send_the_span_that_goes_on_and_streams_still_write(
    status: Status, traces: Traces
) -> None:
    """Both clients do, for unary calls and for streams of either side."""
    await status.start("spring", 4)
    with traces.application.start_as_current_span("report") as root:
        await status.client.report(results([1]), campaign_id="spring", reporter="tester")
        async with reporting(status.client) as stream:
            await stream.send("spring", *results([2]))
            await stream.send("spring", *results([3]))
            await stream.acked(2)

        def blocking() -> None:
            with closeout.StatusClient(status.address) as client:
                client.report(results([4]), campaign_id="spring", reporter="tester")
                for _ in client.watch_campaign(campaign_id="spring"):
                    pass

        await asyncio.to_thread(blocking)
    await traces.one(f"{STATUS}/WatchCampaign", "SERVER")
    found = [one for one in traces.ended if one.kind.name == "SERVER" and one.parent is not None]
    assert {one.name for one in found} >= {f"{STATUS}/ReportResults", f"{STATUS}/WatchCampaign"}
    for one in found:
        assert one.parent is not None
        assert one.parent.span_id == root.get_span_context().span_id


async def test_a_request_of_http_is_a_span_by_the_template_of_its_route(
    status: Status, traces: Traces
) -> None:
    """Its name has no id and no query, and its caller's ``traceparent`` is its parent."""
    await status.start("spring", 1)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with calling(status.url) as client:
        await client.get("/v1/campaigns/spring?secret=1", headers={"traceparent": parent})
        await client.get("/v1/campaigns/spring")
        await client.get("/nowhere/at/all?secret=1")
        assert (await client.get("/healthz")).status_code == httpx.codes.OK
        assert (await client.get("/metrics")).status_code == httpx.codes.OK
    name = "GET /v1/campaigns/{campaign_id}"
    refused = await traces.one(name, "SERVER", where=lambda one: one.parent is not None)
    assert f"{trace_of(refused):032x}" == parent.split("-")[1]
    assert attributes(refused)["http.response.status_code"] == httpx.codes.BAD_REQUEST
    answered = await traces.one(name, "SERVER", where=lambda one: one.parent is None)
    assert attributes(answered) == {
        "http.request.method": "GET",
        "http.route": "/v1/campaigns/{campaign_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "closeout.organisation": "default",
        "closeout.campaign_id": "spring",
    }
    assert [one.name for one in traces.below(answered)] == ["service.CampaignViews.get_with_pace"]
    unknown = await traces.one("GET", "SERVER")
    assert attributes(unknown)["http.response.status_code"] == httpx.codes.NOT_FOUND
    assert {one.name for one in traces.ended if one.name.startswith("GET")} == {name, "GET"}
    assert "secret" not in traces.text()


async def test_a_transaction_that_fails_is_recorded_with_its_error(
    traces: Traces, database: Database
) -> None:
    """The name of the error is there; its text is not, as it quotes the statement."""

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("SELECT 'p@example.com' FROM nowhere"))

    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        with pytest.raises((StoreUnavailableError, sa.exc.ProgrammingError)):
            await store.write(work)
    finally:
        await asyncio.to_thread(store.close)
    name = "test_tracing.test_a_transaction_that_fails_is_recorded_with_its_error"
    (failed,) = traces.named(name, "CLIENT")
    assert failed.status.status_code.name == "ERROR"
    assert str(attributes(failed)["error.type"]).startswith("sqlalchemy.exc.")
    assert not failed.events
    assert "SELECT" not in traces.text()
    assert "example.com" not in traces.text()


async def test_no_span_has_a_key_a_recipient_or_content(
    traces: Traces, database: Database, tmp_path: Path
) -> None:
    """What callers send, and what a message says, is nowhere in what is exported."""
    async with serving(database) as status:
        key = make_key(database, organisation="acme")
        for sent in (key.text, "closeout_not-a-key"):
            await _call_with(status, sent)
        call = await traces.one(
            f"{STATUS}/CreateCampaign",
            where=lambda one: attributes(one)["rpc.grpc.status_code"] == 0,
        )
        assert attributes(call)["closeout.organisation"] == "acme"
    async with pair(tmp_path) as both:
        await both.begin("spring", 2)
        await both.ended("spring")
    text = traces.text()
    assert len(traces.ended) > 20
    assert key.text not in text
    for word in ("not-a-key", "Bearer", "authorization", "example.com", "Hello", LONG_REPORTER):
        assert word not in text, word


async def _call_with(status: Status, key: str) -> None:
    metadata = credentials(key)
    for call, request in (
        (status.stub.CreateCampaign, pb.CreateCampaignRequest(campaign_id="keyed")),
        (
            status.stub.BatchReportResults,
            pb.BatchReportResultsRequest(
                reporter=LONG_REPORTER,
                campaigns=[
                    pb.CampaignResults(
                        campaign_id="keyed", results=results([1], detail="p@example.com")
                    )
                ],
            ),
        ),
    ):
        await asyncio.gather(call(request, metadata=metadata), return_exceptions=True)
    async with calling(status.url) as client:
        await client.get("/v1/campaigns/keyed", headers=dict(metadata))


async def test_what_supervisors_ask_and_a_service_looks_up_by_itself_is_no_span(
    status: Status, traces: Traces
) -> None:
    """Health checks and polls would bury the calls of people."""
    async with open_channel(status.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest(), timeout=30)
    await status.client.create_campaign(campaign_id="spring")
    await traces.one(f"{STATUS}/CreateCampaign", "SERVER")
    assert not [one for one in traces.ended if "Health" in one.name]
    alone = {one.name for one in traces.ended if one.parent is None and one.kind.name == "CLIENT"}
    assert not {name for name in alone if name.startswith(("repair.look", "outbox.look"))}


@pytest.mark.usefixtures("soon_tried_again")
async def test_a_delivery_of_an_event_is_a_span_without_its_url(
    traces: Traces, database: Database
) -> None:
    """The path of a webhook is often its secret; a receiver gets no ``traceparent``."""
    async with (
        receiving() as receiver,
        serving(database, webhooks_allow_private=True, reconcile_interval_seconds=0.1) as status,
        open_channel(status.address) as channel,
    ):
        receiver.behaviour = lambda number, _: web.Response(status=204 if number else 503)
        made = await EventServiceStub(channel).CreateSubscription(
            events_pb2.CreateSubscriptionRequest(url=f"{receiver.url}?token=hidden"), timeout=30
        )
        await status.start("spring", 1)
        await status.report("spring", *results([1]))
        failed = await traces.one("POST", "CLIENT")
        done = await traces.one("POST", where=lambda one: one is not failed)
    assert attributes(failed)["http.response.status_code"] == 503
    assert failed.status.status_code.name == "ERROR"
    assert attributes(done) == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "closeout.event_id": receiver.events()[0]["id"],
        "http.response.status_code": 204,
    }
    names = {name.lower() for one in receiver.deliveries for name in one.headers}
    assert not names & set(tracing.TRACE_HEADERS)
    assert "hidden" not in traces.text()
    assert made.secret not in traces.text()


async def test_nothing_is_wrapped_while_tracing_is_off(tmp_path: Path) -> None:
    """Work runs as it is, and the context of a caller is not looked at."""

    def work(_: sa.Connection) -> None:
        """Do nothing."""

    run = partial(work, None)  # type: ignore[arg-type]
    assert tracing.transaction(run, work, system="sqlite", writes=True) is run
    assert tracing.traced(work, [], dict) is work
    assert tracing.origin() is None
    found = Traces()
    async with serving(tmp_path) as status:
        with found.application.start_as_current_span("an application's"):
            await status.client.create_campaign(campaign_id="spring")
    assert [one.name for one in found.ended] == ["an application's"]
