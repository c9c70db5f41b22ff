"""`closeout check` and `closeout health` against real services."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from starlette.responses import Response
from starlette.routing import Route

from closeout.aio import StatusClient
from closeout.errors import DeadlineExceededError
from closeout_cli.__main__ import main
from integration.databases import SqliteDatabase
from integration.sender_pair import pair
from integration.status_support import Status, results, serving
from providers.held_port import HeldPort
from service_runtime.grace import Grace
from service_runtime.http_app import application
from service_runtime.http_server import serving_http

#: The line of a plugin: status, text, performance data.
LINE = re.compile(r"CLOSEOUT (OK|WARNING|CRITICAL|UNKNOWN) - ([^|\n]+)(?: \| ([^|\n]+))?")
#: One piece of performance data, as the guidelines have it.
DATUM = re.compile(r"[a-z]+=\d+(s?)(;\d*){0,4}")


async def checked(
    capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str, dict[str, int]]:
    """Return exit code, status, text and performance data of `closeout check`."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["check", *words])
    out, err = capsys.readouterr()
    assert err == ""
    # The log of the service in this process goes there too.
    (line,) = (line for line in out.splitlines() if line.startswith("CLOSEOUT "))
    found = LINE.fullmatch(line)
    assert found, line
    data = {}
    for datum in (found[3] or "").split():
        assert DATUM.fullmatch(datum), datum
        label, _, value = datum.partition("=")
        data[label] = int(re.match(r"\d+", value)[0])  # type: ignore[index] # DATUM has it
    return code, found[1], found[2], data


def age(status: Status, campaign_id: str, seconds: int) -> None:
    """Let a campaign stand for so long."""
    status.execute(
        "UPDATE campaigns SET start_time = start_time - ?, progress_time = progress_time - ?"
        " WHERE campaign_id = ?",
        seconds * 1_000_000,
        seconds * 1_000_000,
        campaign_id,
    )


async def test_a_check_names_the_campaign_that_stands_longest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """OK, then CRITICAL, then OK once it is repaired, paused or completed."""
    async with serving(SqliteDatabase(tmp_path / "status.db")) as status:
        at = ["--status-address", status.address]
        assert (await checked(capsys, *at))[:3] == (0, "OK", "no campaign is sending")
        for name in ("fresh", "old", "older", "paused"):
            await status.start(name, 2)
            await status.report(name, *results([1]))
        age(status, "old", 400)
        age(status, "older", 900)
        age(status, "paused", 9_000)
        await status.client.pause_campaign(campaign_id="paused")
        code, name, text, data = await checked(capsys, *at)
        assert (code, name) == (2, "CRITICAL")
        assert text.startswith("2 campaigns stand longer than 5m; older: ")
        assert "closeout explain older" in text
        assert data["stalled"] == 2
        assert data["sending"] == 3
        assert 900 <= data["standing"] < 960
        code, name, text, data = await checked(capsys, *at, "--stalled-for", "10m")
        assert (code, data["stalled"]) == (2, 1)
        code, name, text, data = await checked(capsys, *at, "--stalled-for", "1h")
        assert (code, name, data["stalled"]) == (0, "OK", 0)
        assert text.endswith(": older")
        await status.report("older", *results([2]))
        await status.client.pause_campaign(campaign_id="old")
        assert (await checked(capsys, *at))[0] == 0


async def test_a_check_looks_at_a_limited_number_of_campaigns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cost has a limit, and it says that there are more."""
    async with serving(SqliteDatabase(tmp_path / "status.db")) as status:
        await status.start("c-1", 2)
        age(status, "c-1", 400)
        status.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 230)"
            " INSERT INTO campaigns (campaign_id, organisation, display_name, channel, state,"
            " total, sent, failed, skipped, unknown, revision, last_reporter, create_time,"
            " start_time) SELECT 'c-' || i, organisation, display_name, channel, state, total,"
            " sent, failed, skipped, unknown, revision, last_reporter, create_time, start_time"
            " FROM campaigns, n WHERE campaign_id = 'c-1'"
        )
        code, name, text, data = await checked(capsys, "--status-address", status.address)
    assert (code, name) == (2, "CRITICAL")
    assert text.startswith("200 or more campaigns stand longer than 5m; c-1")
    assert data["stalled"] == data["sending"] == 200


async def test_a_check_is_critical_also_where_nobody_can_say_why_in_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting the results of a large campaign takes longer than a plugin may."""

    async def late(*_: object, **__: object) -> None:
        raise DeadlineExceededError("too late")

    monkeypatch.setattr(StatusClient, "explain_campaign", late)
    async with serving(SqliteDatabase(tmp_path / "status.db")) as status:
        await status.start("old", 4)
        age(status, "old", 400)
        code, name, text, _ = await checked(capsys, "--status-address", status.address)
    assert (code, name) == (2, "CRITICAL")
    assert "old: 0 of 4 (0.0%) have a result. See closeout explain old" in text


async def test_every_failure_of_a_check_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """Any other code would be taken for the state of a campaign."""
    with HeldPort() as port:
        for words in (
            ["--status-address", port.address],
            ["--stalled-for", "soon"],
            ["--no-such-option"],
            ["a-word-too-many"],
        ):
            code, name, _, data = await checked(capsys, *words)
            assert (code, name, data) == (3, "UNKNOWN", {}), words


async def test_a_check_in_json_is_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the campaign's id for programs."""
    async with serving(SqliteDatabase(tmp_path / "status.db")) as status:
        await status.start("spring", 1)
        words = ["check", "--json", "--status-address", status.address]
        assert await asyncio.to_thread(main, words) == 0
    found = json.loads(_lines(capsys)[-1])
    assert (found["status"], found["exit_code"], found["campaign_id"]) == ("OK", 0, "spring")
    assert found["performance"]["sending"] == 1


async def test_health_asks_both_services_in_both_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 while all is well; 1 with the reasons when a service is gone."""
    async with pair(tmp_path) as both:
        monkeypatch.setenv("CLOSEOUT_STATUS_HTTP_LISTEN", both.status_http)
        monkeypatch.setenv("CLOSEOUT_SENDER_HTTP_LISTEN", both.sender_http)
        words = ["health", "--status-address", both.status_address]
        words += ["--sender-address", both.sender_address]
        capsys.readouterr()
        assert await asyncio.to_thread(main, words) == 0
        lines = [line.split("\t") for line in _lines(capsys)]
        assert [line[:2] for line in lines] == [
            ["status", "grpc"],
            ["status", "http"],
            ["sender", "grpc"],
            ["sender", "http"],
        ]
        assert {line[3] for line in lines} == {"ok"}
        await both.stop_sender()
        assert await asyncio.to_thread(main, [*words, "--json"]) == 1
        found = json.loads(_lines(capsys)[-1])
        assert not found["ok"]
        assert [one["ok"] for one in found["answers"]] == [True, True, False, False]


async def test_health_asks_over_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate has to be of an authority that the client trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def ready(_: object) -> Response:
        return Response("{}")

    app = application([Route("/readyz", ready)])
    async with serving_http(app, "127.0.0.1:0", grace=Grace(1), tls=context) as port:
        words = ["health", "--json", "--status-http", f"https://localhost:{port}"]
        await asyncio.to_thread(main, words)
        untrusted = _status_http(capsys)
        monkeypatch.setenv("CLOSEOUT_TLS_CA_FILE", str(tmp_path / "ca.pem"))
        await asyncio.to_thread(main, words)
        trusted = _status_http(capsys)
    assert trusted["ok"], trusted
    assert not untrusted["ok"]
    assert "certificate" in untrusted["summary"]


def _status_http(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answers: list[dict[str, Any]] = json.loads(_lines(capsys)[-1])["answers"]
    (found,) = (one for one in answers if (one["service"], one["way"]) == ("status", "http"))
    return found


async def test_health_names_what_a_service_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As /readyz says it."""
    async with serving(SqliteDatabase(tmp_path / "status.db")) as status:
        status.execute("UPDATE closeout_status_version SET version_num = '9999'")
        words = ["health", "--status-address", status.address]
        words += ["--status-http", status.http_address, "--json"]
        assert await asyncio.to_thread(main, words) == 1
    assert "not ready: migrations: " in _status_http(capsys)["summary"]


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what the command printed, without the log of the services in this process."""
    out = capsys.readouterr().out
    return [line for line in out.splitlines() if line.startswith(("status\t", "sender\t", "{"))]
