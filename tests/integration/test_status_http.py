"""JSON over HTTP: every path, on a real service; the same checks and errors as gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from integration.http_support import (
    calling,
    check_headers,
    fields_of,
    reason_of,
)
from integration.status_support import Status, serving
from status_service.http_api.rules import packaged_rules

RULES = packaged_rules()
#: For each path that is about one campaign: method, the rest of the path, and a body.
OF_A_CAMPAIGN: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", ":explain", None),
    ("GET", ":watch", None),
    ("GET", "/results", None),
    ("GET", "/missingRanges", None),
    ("GET", "/transitions", None),
    ("GET", "/samples", None),
    ("GET", "/failures", None),
    ("POST", ":start", {"total": 2}),
    ("POST", ":pause", {}),
    ("POST", ":resume", {}),
    ("POST", ":cancel", {}),
    ("POST", ":markComplete", {}),
    ("POST", ":explain", {}),
]


@pytest.fixture
async def test_a_key_in_a_url_is_no_key(status: Status) -> None:
    """Neither of a call that reads nor of one that writes; the answer says where it goes."""
    async with calling(status.url) as client:
        read = await client.get("/v1/campaigns", params={"api_key": "closeout_x"})
        made = await client.post("/v1/campaigns", params={"access_token": "x"}, json={})
    for answer, name in ((read, "api_key"), (made, "access_token")):
        assert (answer.status_code, reason_of(answer)) == (400, "INVALID_REQUEST")
        assert "authorization: Bearer" in fields_of(answer)[name]


async def status(tmp_path: Path) -> AsyncIterator[Status]:
    """A status service on SQLite."""
    async with serving(tmp_path) as service:
        yield service


@pytest.fixture
async def http(status: Status) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its HTTP."""
    async with calling(status.url) as client:
        yield client


async def test_a_campaign_is_created_started_reported_and_completed(
    http: httpx.AsyncClient,
) -> None:
    """JSON alone does all that a reporter needs, and every answer has the revision as ETag."""
    created = await http.post("/v1/campaigns", json={"campaignId": "a", "labels": {"team": "x"}})
    assert (created.status_code, created.headers["etag"]) == (200, '"1"')
    assert created.json()["created"] is True
    check_headers(created)
    started = await http.post("/v1/campaigns/a:start", json={"total": "3"})
    assert (started.json()["campaign"]["state"], started.headers["etag"]) == ("SENDING", '"2"')
    results = [{"sequence": 1, "outcome": "SENT"}, {"sequence": "2", "outcome": 3, "code": "550"}]
    reported = await http.post(
        "/v1/results:batchReport", json={"campaigns": [{"campaign_id": "a", "results": results}]}
    )
    (receipt,) = reported.json()["receipts"]
    assert (receipt["newResults"], receipt["campaignState"]["state"]) == ("2", "SENDING")
    missing = await http.get("/v1/campaigns/a/missingRanges")
    assert missing.json()["ranges"] == [{"first": "3", "last": "3"}]
    failed = await http.get("/v1/campaigns/a/results", params={"outcomes": "FAILED"})
    assert [result["code"] for result in failed.json()["results"]] == ["550"]
    explained = await http.get("/v1/campaigns/a:explain")
    assert explained.json()["diagnosis"]["diagnosis"] == "IN_PROGRESS"
    assert "etag" not in explained.headers
    forced = await http.post("/v1/campaigns/a:markComplete", json={"force": True, "reason": "lost"})
    campaign = forced.json()["campaign"]
    assert (campaign["state"], campaign["unknown"], campaign["total"]) == ("COMPLETED", "1", "3")
    trail = await http.get("/v1/campaigns/a/transitions")
    assert [step["cause"] for step in trail.json()["transitions"]] == ["USER", "SEAL", "MANUAL"]


async def test_a_campaign_is_paused_resumed_and_cancelled(http: httpx.AsyncClient) -> None:
    """A call that changes something and has nothing to say needs no body."""
    await http.post("/v1/campaigns", json={"campaign_id": "a"})
    await http.post("/v1/campaigns/a:start", json={"total": 1})
    for action, state in (("pause", "PAUSED"), ("resume", "SENDING"), ("cancel", "CANCELLED")):
        changed = await http.post(f"/v1/campaigns/a:{action}")
        assert (changed.status_code, changed.json()["campaign"]["state"]) == (200, state)
        assert changed.json()["transitioned"] is True


async def test_campaigns_are_listed_and_repaired(http: httpx.AsyncClient, status: Status) -> None:
    """Lists take states, labels, an order and pages; a repair takes JSON."""
    await status.stuck("stuck")
    for number in range(3):
        form = {"campaign_id": f"c{number}", "labels": {"even": str(number % 2 == 0)}}
        await http.post("/v1/campaigns", json=form)
    page = await http.get("/v1/campaigns?states=DRAFT&labels[even]=True&pageSize=1")
    assert [campaign["campaignId"] for campaign in page.json()["campaigns"]] == ["c2"]
    token = page.json()["nextPageToken"]
    rest = await http.get(
        "/v1/campaigns",
        params={"states": "1", "labels[even]": "True", "page_size": 1, "page_token": token},
    )
    assert [campaign["campaignId"] for campaign in rest.json()["campaigns"]] == ["c0"]
    assert rest.json()["nextPageToken"] == ""
    stuck = await http.get("/v1/campaigns", params={"order": "STUCK_FIRST", "states": "SENDING"})
    assert [campaign["campaignId"] for campaign in stuck.json()["campaigns"]] == ["stuck"]
    form = {"dryRun": True, "stallThreshold": "60s"}
    repaired = await http.post("/v1/campaigns:repair", json=form)
    assert (repaired.json()["openCampaigns"], repaired.json()["repairedCampaigns"]) == (1, 1)
    await http.post("/v1/campaigns:repair")
    assert (await http.get("/v1/campaigns/stuck")).json()["campaign"]["state"] == "COMPLETED"


def test_the_table_has_every_path_of_a_campaign() -> None:
    """No path is left out below."""
    prefix = "/v1/campaigns/{campaign_id}"
    assert {(rule.method, rule.path) for rule in RULES if rule.path.startswith(prefix)} == {
        (method, prefix + rest) for method, rest, _ in OF_A_CAMPAIGN
    }


@pytest.mark.parametrize(("method", "rest", "body"), OF_A_CAMPAIGN)
async def test_a_campaign_that_does_not_exist_is_not_found(
    http: httpx.AsyncClient, method: str, rest: str, body: dict[str, Any] | None
) -> None:
    """404 with the reason that gRPC has."""
    answer = await http.request(method, f"/v1/campaigns/none{rest}", json=body)
    assert (answer.status_code, reason_of(answer)) == (404, "CAMPAIGN_NOT_FOUND")
    assert answer.json()["code"] == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize(("method", "rest", "body"), OF_A_CAMPAIGN)
async def test_a_wrong_id_and_an_unknown_field_are_refused(
    http: httpx.AsyncClient, method: str, rest: str, body: dict[str, Any] | None
) -> None:
    """400 with the field, wherever it stands."""
    wrong_id = await http.request(method, f"/v1/campaigns/a%2Fb{rest}", json=body)
    assert (wrong_id.status_code, reason_of(wrong_id)) == (400, "INVALID_REQUEST")
    assert list(fields_of(wrong_id)) == ["campaign_id"]
    unknown = await http.request(method, f"/v1/campaigns/a{rest}?foo=1", json=body)
    assert (unknown.status_code, list(fields_of(unknown))) == (400, ["foo"])
    if body is not None:
        unknown = await http.request(method, f"/v1/campaigns/a{rest}", json={**body, "bar": 1})
        assert (unknown.status_code, fields_of(unknown)) == (400, {"bar": "unknown field"})


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/campaigns", {"campaignId": "!"}, "campaign_id"),
        ("/v1/campaigns:repair", {"stallThreshold": "0s"}, "stall_threshold"),
        ("/v1/results:batchReport", {}, "campaigns"),
        (
            "/v1/results:batchReport",
            {"campaigns": [{"campaignId": "a", "results": [{"sequence": 1, "outcome": 9}]}]},
            "campaigns[0].results[0].outcome",
        ),
        ("/v1/campaigns/a:start", {"campaignId": "b", "total": 1}, "campaign_id"),
    ],
)
async def test_the_service_checks_what_json_says(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    """The checks are those of gRPC, and name the same fields."""
    answer = await http.post(path, json=body)
    assert (answer.status_code, reason_of(answer)) == (400, "INVALID_REQUEST")
    assert list(fields_of(answer)) == [field]


async def test_refusals_have_the_status_of_their_code(http: httpx.AsyncClient) -> None:
    """FAILED_PRECONDITION and OUT_OF_RANGE are 400, ALREADY_EXISTS and ABORTED 409."""
    await http.post("/v1/campaigns", json={"campaign_id": "a"})
    taken = await http.post("/v1/campaigns", json={"campaign_id": "a", "channel": "x"})
    assert (taken.status_code, reason_of(taken)) == (409, "CAMPAIGN_ALREADY_EXISTS")
    draft = await http.post("/v1/campaigns/a:markComplete")
    assert (draft.status_code, reason_of(draft)) == (400, "CAMPAIGN_NOT_SENDING")
    await http.post("/v1/campaigns/a:start", json={"total": 2})
    early = await http.post("/v1/campaigns/a:markComplete")
    assert (early.status_code, reason_of(early)) == (400, "CAMPAIGN_NOT_FULLY_PROCESSED")
    metadata = early.json()["details"][0]["metadata"]
    assert (metadata["pending"], metadata["missing_ranges"]) == ("2", "1-2")
    form = {"campaigns": [{"campaignId": "a", "results": [{"sequence": 3, "outcome": "SENT"}]}]}
    outside = await http.post("/v1/results:batchReport", json=form)
    assert (outside.status_code, reason_of(outside)) == (400, "SEQUENCE_OUT_OF_RANGE")
    moved = await http.post("/v1/campaigns/a:pause", json={"revision": 99})
    assert (moved.status_code, reason_of(moved)) == (409, "REVISION_MISMATCH")


async def test_if_match_is_the_revision_that_a_campaign_must_have(http: httpx.AsyncClient) -> None:
    """Another one is 412, which changes nothing; `*` is any."""
    created = await http.post("/v1/campaigns", json={"campaign_id": "a"})
    first = {"if-match": created.headers["etag"]}
    started = await http.post("/v1/campaigns/a:start", json={"total": 1}, headers=first)
    assert started.status_code == 200
    late = await http.post("/v1/campaigns/a:pause", headers=first)
    assert (late.status_code, reason_of(late)) == (412, "REVISION_MISMATCH")
    assert late.json()["details"][0]["metadata"]["revision"] == "2"
    both = {"json": {"revision": 1}, "headers": {"if-match": '"2"'}}
    assert fields_of(await http.post("/v1/campaigns/a:pause", **both)) == {
        "revision": "If-Match has another one; give it once"
    }
    weak = await http.post("/v1/campaigns/a:pause", headers={"if-match": 'W/"2"'})
    assert (weak.status_code, list(fields_of(weak))) == (400, ["If-Match"])
    listed = await http.post("/v1/campaigns:repair", headers={"if-match": '"2"'})
    assert (listed.status_code, list(fields_of(listed))) == (400, ["If-Match"])
    assert (await http.get("/v1/campaigns/a")).json()["campaign"]["state"] == "SENDING"
    any_one = await http.post("/v1/campaigns/a:pause", headers={"if-match": "*"})
    assert any_one.json()["transitioned"] is True


async def test_a_reader_who_has_the_campaign_gets_304(http: httpx.AsyncClient) -> None:
    """If-None-Match spares the body; HEAD has the headers of GET and no body."""
    await http.post("/v1/campaigns", json={"campaign_id": "a"})
    known = await http.get("/v1/campaigns/a", headers={"if-none-match": '"1"'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", '"1"')
    changed = await http.get("/v1/campaigns/a", headers={"if-none-match": '"2"'})
    head = await http.head("/v1/campaigns/a")
    assert (head.status_code, head.content) == (changed.status_code, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == changed.headers[name]


async def test_events_have_paths(http: httpx.AsyncClient) -> None:
    """Subscribe, list, replay and end; what is not there is 404 as over gRPC."""
    form = {"url": "https://example.com/", "kinds": ["campaign.completed"]}
    made = (await http.post("/v1/subscriptions", json=form)).json()
    assert made["secret"].startswith("whsec_")
    listed = (await http.get("/v1/subscriptions")).json()
    assert listed["subscriptions"] == [made["subscription"]]
    place = f"/v1/subscriptions/{made['subscription']['subscriptionId']}"
    await http.post("/v1/campaigns", json={"campaignId": "a"})
    events = (await http.get("/v1/events?campaignId=a")).json()["events"]
    assert [event["kind"] for event in events] == ["campaign.draft"]
    replayed = await http.post(f"{place}:replay")
    assert replayed.json() == {"replayedEvents": 0, "more": False}
    assert (await http.delete(place)).json() == {}
    gone = await http.delete(place)
    assert (gone.status_code, reason_of(gone)) == (404, "SUBSCRIPTION_NOT_FOUND")


async def test_paths_and_methods_that_nothing_has_are_errors_in_json(
    http: httpx.AsyncClient,
) -> None:
    """404 for a path, and 405 with Allow for a method; OPTIONS allows no other origin."""
    for path in ("/v1", "/v1/campaigns/a:sing", "/v1/campaigns/a:b:start", "/v2/campaigns", "/x"):
        missing = await http.get(path)
        assert (missing.status_code, reason_of(missing)) == (404, "PATH_NOT_FOUND")
    for method, path, allow in (
        ("DELETE", "/v1/campaigns", "GET, HEAD, POST"),
        ("GET", "/v1/results:batchReport", "POST"),
        ("POST", "/v1/campaigns/a:watch", "GET, HEAD"),
        ("OPTIONS", "/v1/campaigns/a:start", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ):
        refused = await http.request(method, path)
        assert (refused.status_code, reason_of(refused)) == (405, "INVALID_REQUEST")
        assert refused.headers["allow"] == allow


async def test_a_body_is_json_of_at_most_4_mib(http: httpx.AsyncClient) -> None:
    """415 for another type or none, 413 for more, 400 with the place for what is no JSON."""
    for headers in ({"content-type": "text/plain"}, {}):
        other = await http.post("/v1/campaigns", content=b"{}", headers=headers)
        assert (other.status_code, reason_of(other)) == (415, "INVALID_REQUEST")
    form = {"display_name": "x" * 4 * 1024 * 1024}
    large = await http.post("/v1/campaigns", json=form)
    assert (large.status_code, reason_of(large)) == (413, "INVALID_REQUEST")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1024 * 1024

    kind = {"content-type": "application/json; charset=utf-8"}
    chunked = await http.post("/v1/campaigns", content=chunks(), headers=kind)
    assert (chunked.status_code, reason_of(chunked)) == (413, "INVALID_REQUEST")
    broken = await http.post("/v1/campaigns", content=b'{"a"', headers=kind)
    assert (broken.status_code, reason_of(broken)) == (400, "INVALID_REQUEST")
    assert "line 1, column 5" in fields_of(broken)["body"]


async def test_a_page_of_another_origin_changes_nothing(http: httpx.AsyncClient) -> None:
    """A browser sends its requests even where it hides the answers: they are refused."""
    for origin in ("https://evil.example", "null"):
        foreign = await http.post("/v1/campaigns:repair", headers={"origin": origin})
        assert (foreign.status_code, reason_of(foreign)) == (403, "INVALID_REQUEST")
    ours = str(http.base_url).rstrip("/")
    assert (await http.post("/v1/campaigns:repair", headers={"origin": ours})).status_code == 200


async def test_an_answer_of_many_rows_is_whole(http: httpx.AsyncClient, status: Status) -> None:
    """A large request and a large answer are what small ones are."""
    await status.start("a", 1_000)
    results = [
        {"sequence": number, "outcome": "FAILED", "detail": "x" * 100} for number in range(1, 1_001)
    ]
    form = {"campaigns": [{"campaignId": "a", "results": results}]}
    (receipt,) = (await http.post("/v1/results:batchReport", json=form)).json()["receipts"]
    assert receipt["newResults"] == "1000"
    page = (await http.get("/v1/campaigns/a/results?page_size=1000")).json()
    assert [int(result["sequence"]) for result in page["results"]] == list(range(1, 1_001))


async def test_who_acts_for_whom_is_in_the_audit_trail(http: httpx.AsyncClient) -> None:
    """The actor is the peer while no key exists; the claim stands beside it."""
    headers = {"closeout-on-behalf-of": "ops@host"}
    await http.post("/v1/campaigns", json={"campaign_id": "a"}, headers=headers)
    (step,) = (await http.get("/v1/campaigns/a/transitions")).json()["transitions"]
    assert step["onBehalfOf"] == "ops@host"
    assert step["actor"].startswith("ipv4:127.0.0.1:")


async def test_the_document_is_open_to_everybody(http: httpx.AsyncClient) -> None:
    """The contract is public, and as the generator wrote it."""
    answer = await http.get("/openapi.json")
    assert answer.json()["openapi"] == "3.1.0"
    assert answer.headers["x-content-type-options"] == "nosniff"
