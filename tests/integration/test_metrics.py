"""What both services show to Prometheus, over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from closeout.errors import NotFoundError
from closeout.status.v1 import status_pb2 as pb
from integration import sender_support as support
from integration.databases import Database
from integration.http_support import reason_of
from integration.key_support import Metadata, credentials, make_key, other_secret
from integration.scrapes import Scrape, get, parsed, scrape
from integration.sender_pair import Pair, pair
from integration.status_support import Status, results, serving
from sender_service.channels.contract import Answer, Reply
from service_runtime.access import Credentials
from service_runtime.caller import Caller, Scope
from service_runtime.errors import KeyMissingError
from service_runtime.grace import Grace
from service_runtime.http_app import application
from service_runtime.http_server import serving_http
from service_runtime.metrics import ServiceMetrics
from service_runtime.operations_routes import metrics_route
from status_service.access.key_access import AccessLimits
from status_service.settings import StatusSettings

pytestmark = pytest.mark.usefixtures("newest_numbers")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with work done."""
    async with pair(tmp_path) as services:
        await services.begin("first", 120)
        await services.finished("first")
        yield services


def rows_of(section: str) -> Iterator[tuple[str, str, set[str]]]:
    """Return name, type and labels of each metric in a section of docs/metrics.md."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \|(.*?)\|", part, re.MULTILINE):
        yield name, kind, set(re.findall(r"\w+", labels))


def shown(found: Scrape) -> dict[str, str]:
    """Return the type of each metric by the name that a page has."""
    return {
        name + ("_total" if kind == "counter" else ""): kind
        for name, kind in found.families.items()
    }


@pytest.mark.parametrize("service", ["status", "sender"])
async def test_the_page_lists_what_is_scraped(both: Pair, service: str) -> None:
    """docs/metrics.md has every metric of each service, with its type and its labels."""
    address = both.status_http if service == "status" else both.sender_http
    await get(address, "/nothing-here")
    found = await scrape(address)
    listed = [*rows_of("Both services"), *rows_of(f"The {service} service")]
    assert shown(found) == {name: kind for name, kind, _ in listed}
    for name, kind, labels in listed:
        series = name if kind != "histogram" else f"{name}_count"
        if name != "closeout_certificate_end_timestamp_seconds":
            assert found.labels_of(series) == labels, name


async def test_no_label_has_what_a_caller_chose(both: Pair) -> None:
    """Names of campaigns, methods, paths and peers of callers are in no label."""
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="secret-campaign")
    await get(both.status_http, "/secret/path")
    for address in (both.status_http, both.sender_http):
        text = (await get(address, "/metrics")).text
        for word in ("secret", "first", "scripted_", "example.com", "default", "127.0.0.1"):
            assert word not in text, word


async def test_the_status_service_counts_calls_results_and_completions(both: Pair) -> None:
    """Each call and each result counts once."""
    await support.eventually(lambda: _is(both.status_http, "closeout_completions_total"))
    found = await scrape(both.status_http)
    assert found.value("closeout_results_recorded_total", outcome="sent") == 120
    assert found.sum("closeout_results_recorded_total") == 120
    assert found.value("closeout_completions_total", cause="RESULT") == 1
    assert found.value("closeout_campaign_state_changes_total", state="COMPLETED") == 1
    assert found.sum("closeout_repairs_total") == 0
    calls = {"grpc_method": "CreateCampaign", "grpc_type": "unary"}
    assert found.value("grpc_server_started_total", **calls) == 1
    assert found.value("grpc_server_handled_total", **calls, grpc_code="OK") == 1
    assert found.sum("grpc_server_handled_total", **calls) == 1
    assert found.value("grpc_server_msg_received_total", **calls) == 1
    assert found.value("grpc_server_msg_sent_total", **calls) == 1
    assert found.value("closeout_open_calls", grpc_method="ReportResults") == 1
    assert found.value("closeout_open_calls", grpc_method="WatchCampaign") == 0
    assert found.value("closeout_queue_frames_limit") == 40
    assert found.value("closeout_ready") == found.value("closeout_store_up") == 1


async def _is(address: str, name: str) -> bool:
    return (await scrape(address)).sum(name) > 0


async def test_a_refused_call_counts_with_its_code(both: Pair) -> None:
    """A refusal has the code that the caller sees, under the name that Go gives it."""
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="nothing")
    found = await scrape(both.status_http)
    method = {"grpc_method": "GetCampaign"}
    assert found.value("grpc_server_handled_total", **method, grpc_code="NotFound") == 1
    assert found.value("grpc_server_msg_sent_total", **method) == 0


async def test_a_watcher_is_counted_while_it_watches(both: Pair) -> None:
    """A stream that is cancelled ends as Canceled."""
    await both.create("watched", 1)
    watching = both.status.watch_campaign(campaign_id="watched")
    await anext(watching)
    method = {"grpc_method": "WatchCampaign"}
    assert (await scrape(both.status_http)).value("closeout_open_calls", **method) == 1
    await watching.aclose()

    async def gone() -> bool:
        found = await scrape(both.status_http)
        canceled = found.value("grpc_server_handled_total", **method, grpc_code="Canceled")
        return canceled == 1 and found.value("closeout_open_calls", **method) == 0

    await support.eventually(gone)


async def test_requests_count_by_the_template_of_their_route(both: Pair) -> None:
    """Paths that no route answers share one label."""
    for path in ("/healthz", "/nothing", "/nothing/else"):
        await get(both.status_http, path)
    found = await scrape(both.status_http)
    requests = "closeout_http_requests_total"
    assert found.value(requests, route="/healthz", code="200", method="GET") == 1
    assert found.value(requests, route="none", code="404") == 2


async def test_the_sender_counts_messages_and_tries(both: Pair) -> None:
    """Every message has one outcome, and every try one answer."""
    found = await scrape(both.sender_http)
    scripted = {"channel": "scripted"}
    assert found.value("closeout_messages_total", **scripted, outcome="sent") == 120
    assert found.value("closeout_attempts_total", **scripted, answer="accepted") == 120
    assert found.value("closeout_messages_in_flight", **scripted) == 0
    assert found.value("closeout_breaker_state", **scripted, state="closed") == 1
    assert found.value("closeout_provider_available", **scripted) == 1
    assert found.value("closeout_reporting_streams_connected") == 1
    assert found.value("closeout_last_acknowledgement_timestamp_seconds") > 0
    assert found.value("closeout_unreported_results") == 0
    assert found.value("closeout_campaigns_at_work") == 0


async def test_unreported_results_and_their_age_show_while_nobody_takes_them(
    both: Pair,
) -> None:
    """The journal of the sender grows while the status service is away, and empties after."""
    await both.hold_calls()
    await both.begin("late", 4)
    await support.eventually(lambda: _is(both.sender_http, "closeout_messages_in_flight"))
    await both.stop_status()
    both.channel.hold.set()

    async def unreported() -> bool:
        found = await scrape(both.sender_http)
        waits = found.value("closeout_unreported_results") > 0
        return waits and found.value("closeout_reporting_streams_connected") == 0

    await support.eventually(unreported)

    async def older() -> bool:
        return (await scrape(both.sender_http)).value("closeout_oldest_unreported_seconds") > 0

    await support.eventually(older)
    await both.start_status()

    async def reported() -> bool:
        found = await scrape(both.sender_http)
        is_gone = found.value("closeout_unreported_results") == 0
        return is_gone and found.value("closeout_oldest_unreported_seconds") == 0

    await support.eventually(reported)


async def test_a_provider_that_fails_is_not_available(both: Pair) -> None:
    """Tries that fail count by their answer, and the breaker shows that it is open."""
    refused = Reply(Answer.PROVIDER_FAULT, code="refused", detail="connection refused")
    both.channel.script = lambda _: refused
    both.channel.check_reply = refused
    await both.begin("held", 3)
    scripted = {"channel": "scripted"}

    async def failed() -> bool:
        found = await scrape(both.sender_http)
        return found.value("closeout_provider_available", **scripted) == 0

    await support.eventually(failed)
    assert (await scrape(both.sender_http)).value("closeout_breaker_openings_total", **scripted) > 0


async def test_a_stalled_campaign_counts_and_a_paused_one_does_not(status: Status) -> None:
    """Of campaigns without a result for an hour, the paused one and the fresh one do not count."""
    for name in ("stalled", "paused", "fresh", "waits"):
        await status.client.create_campaign(campaign_id=name)
    for name in ("stalled", "paused", "fresh"):
        await status.client.start_campaign(campaign_id=name, total=2)
    await status.client.pause_campaign(campaign_id="paused")
    status.execute(
        "UPDATE campaigns SET start_time = start_time - 3600000000 WHERE campaign_id <> ?", "fresh"
    )
    found = await scrape(status.http_address)
    assert found.value("closeout_campaigns_stalled") == 1
    assert found.value("closeout_campaigns_need_attention") == 1
    assert 3_600 <= found.value("closeout_longest_standing_seconds") < 3_700
    assert found.value("closeout_campaigns", state="SENDING") == 2
    assert found.value("closeout_campaigns", state="PAUSED") == 1


class Nobody:
    """Knows nobody but who has the right header, who may read or not."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = frozenset(scopes)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return a caller, or refuse."""
        if credentials.authorization != "Bearer right":
            raise KeyMissingError("send a key as a bearer token")
        return Caller("default", "key:prometheus", scopes=self._scopes)


@asynccontextmanager
async def scraped(listen: str, *scopes: Scope, is_open: bool = False) -> AsyncIterator[str]:
    """Serve metrics as a service does that listens on an address; yield where they are."""
    metrics = ServiceMetrics("status")
    settings = StatusSettings(http_listen=listen, metrics_open=is_open)
    access = metrics.counting(Nobody(*scopes))

    async def nothing() -> None:
        """Refresh nothing."""

    routes = [metrics_route(metrics, access, settings, refresh=nothing)]
    app = metrics.http.observing(application(routes))
    async with serving_http(app, "127.0.0.1:0", grace=Grace(1)) as port:
        yield f"127.0.0.1:{port}"


async def test_on_loopback_everybody_may_scrape() -> None:
    """No key is asked for."""
    async with scraped("127.0.0.1:20080") as address:
        assert (await get(address, "/metrics")).status_code == 200


async def test_a_setting_opens_the_metrics_elsewhere() -> None:
    """No key is asked for."""
    async with scraped("0.0.0.0:20080", is_open=True) as address:
        assert (await get(address, "/metrics")).status_code == 200


async def test_elsewhere_a_scrape_needs_a_key_that_may_read() -> None:
    """Without one it is 401, with the wrong scope 403; refusals are counted by reason."""
    key = {"authorization": "Bearer right"}
    async with scraped("0.0.0.0:20080", Scope.READ) as address:
        refused = await get(address, "/metrics")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == 'Bearer realm="closeout"'
        assert reason_of(refused) == "KEY_MISSING"
        found = parsed((await get(address, "/metrics", **key)).text)
        assert found.value("closeout_keys_refused_total", reason="KEY_MISSING") == 1
        assert found.sum("closeout_keys_refused_total") == 1
    async with scraped("0.0.0.0:20080", Scope.REPORT) as address:
        refused = await get(address, "/metrics", **key)
        assert refused.status_code == 403
        assert reason_of(refused) == "SCOPE_MISSING"


async def test_refused_keys_count_by_their_reason(database: Database) -> None:
    """Once there are keys: a call without one, and one with a wrong one."""
    async with serving(database, limits=AccessLimits(kept_seconds=0.0)) as status:
        await _check_refused_keys(status)


async def _check_refused_keys(status: Status) -> None:
    key = make_key(status.database)

    async def refused(metadata: Metadata) -> bool:
        try:
            await status.stub.GetCampaign(pb.GetCampaignRequest(campaign_id="x"), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    await support.eventually(lambda: refused(()))
    assert await refused(credentials(other_secret(key)))
    assert await refused(credentials("closeout_nonsense"))
    assert not await refused(credentials(key))
    found = await scrape(status.http_address)
    for reason in ("KEY_MISSING", "KEY_INVALID", "KEY_MALFORMED"):
        assert found.value("closeout_keys_refused_total", reason=reason) == 1, reason
    assert found.sum("closeout_keys_refused_total") == 3


async def test_a_certificate_shows_when_it_ends() -> None:
    """Without a certificate there is no series."""
    metrics = ServiceMetrics("status")
    name = "closeout_certificate_end_timestamp_seconds"
    assert name not in {known for known, _ in parsed(metrics.exposition().decode()).samples}
    metrics.watch_certificate(lambda: datetime.fromtimestamp(1_900_000_000, UTC))
    assert parsed(metrics.exposition().decode()).value(name) == 1_900_000_000


async def test_counters_move_once_for_a_commit(tmp_path: Path) -> None:
    """Whatever a commit stores, it counts as one, and each result once; a late one also as late."""
    async with serving(tmp_path) as status:
        await status.start("late", 3)
        await status.report("late", *results(range(1, 4), pb.Result.UNKNOWN))
        await status.report("late", *results([2], pb.Result.SENT))
        await status.report("late", *results([2], pb.Result.SENT))
        found = await scrape(status.http_address)
    assert found.value("closeout_results_recorded_total", outcome="unknown") == 3
    assert found.value("closeout_results_recorded_total", outcome="sent") == 1
    assert found.value("closeout_late_results_total") == 1
    assert found.value("closeout_repeated_results_total") == 1
    assert found.value("closeout_commit_seconds_count") == 3


async def test_repairs_count_by_what_was_wrong(status: Status) -> None:
    """A campaign that was not completed, and one with wrong counters."""
    await status.stuck("open")
    await status.start("drift", 3)
    await status.report("drift", *results([1]))
    status.execute("UPDATE campaigns SET sent = 2 WHERE campaign_id = ?", "drift")
    await status.client.repair_campaigns()
    found = await scrape(status.http_address)
    assert found.value("closeout_repairs_total", diagnosis="FULLY_PROCESSED") == 1
    assert found.value("closeout_repairs_total", diagnosis="COUNTER_DRIFT") == 1
    assert found.value("closeout_completions_total", cause="RECONCILE") == 1
