"""Each runbook of docs/operations.md, followed to its end.

A fault is made, the condition of the alert holds, every command of the runbook runs in its
order, the cause is mended as it says, its last line holds, and so does the condition no more.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from closeout_cli.__main__ import main
from integration import sender_support as support
from integration.databases import PostgresqlDatabase, SqliteDatabase
from integration.keyed_pair import keyed_pair
from integration.runbook_faults import FAULTS, LASTING, Case, Services
from integration.scrapes import parsed, scrape
from integration.sender_pair import pair
from integration.status_support import Status, reporting, results, serving
from integration.tls_support import Authority
from providers.postgresql_server import PostgresqlServer
from providers.prometheus_files import ALERTS, rules

pytestmark = pytest.mark.usefixtures("newest_numbers")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
NAMES = [rule["alert"] for rule in rules(ALERTS)]


def runbook(name: str) -> tuple[list[str], list[str]]:
    """Return the commands of a runbook in their order, and those of its last line."""
    text = PAGE.read_text(encoding="utf-8")
    rest = text.split(f"\n### {name}\n")[1]
    part = re.split(r"^#{2,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    steps, _, end = part.partition("\nDone when ")
    assert end, name

    def commands(of: str) -> list[str]:
        return re.findall(r"`closeout ([^`]+)`", of)

    return commands(steps), commands(end)


async def run(command: str, campaign: str) -> int:
    """Run a command of a runbook and return its exit code."""
    words = [campaign if word == "ID" else word for word in shlex.split(command)]
    # A person would be asked.
    more = ["--yes"] if words[0] == "resend" else []
    return await asyncio.to_thread(main, [*words, *more])


async def follow(
    name: str, case: Case, environment: Callable[[], dict[str, str]], patch: pytest.MonkeyPatch
) -> None:
    """Follow a runbook to its end."""

    def point() -> None:
        for variable, value in environment().items():
            patch.setenv(variable, value)

    steps, end = runbook(name)
    await support.eventually(case.condition)
    point()
    for command in steps:
        code = await run(command, case.campaign)
        assert code == case.codes.get(command, 0), f"closeout {command}"
    await case.mend()
    point()
    for command in end:

        async def done(command: str = command) -> bool:
            return await run(command, case.campaign) == 0

        await support.eventually(done)
    if name not in LASTING:

        async def over() -> bool:
            return not await case.condition()

        await support.eventually(over)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_runbook_leads_to_its_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the alert to the line that says when it is done."""
    async with pair(tmp_path, speed=20) as both:
        services = Services(both, monkeypatch, tmp_path)
        case = await FAULTS[name](services)
        await follow(name, case, services.environment, monkeypatch)


def at(status: Status) -> dict[str, str]:
    """Return where the command finds a status service alone."""
    return {
        "CLOSEOUT_SENDER_STATUS_ADDRESS": status.address,
        "CLOSEOUT_STATUS_HTTP_LISTEN": status.http_address,
    }


async def test_the_runbook_of_a_database_that_is_down_leads_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
    own_postgresql_server: Callable[..., PostgresqlServer],
) -> None:
    """PostgreSQL is stopped, and started again."""
    server = own_postgresql_server()
    async with serving(PostgresqlDatabase(server.create_database())) as status:
        await asyncio.to_thread(server.stop)

        async def is_down() -> bool:
            return (await scrape(status.http_address)).value("closeout_store_up") == 0

        async def mend() -> None:
            await asyncio.to_thread(server.start)

        case = Case(is_down, mend, codes={"health": 1, "doctor": 3})
        steps, end = runbook("CloseoutStoreUnavailable")
        assert (steps, end) == (["health", "doctor"], ["health"])
        await support.eventually(case.condition)
        for variable, value in at(status).items():
            monkeypatch.setenv(variable, value)
        for command in steps:
            assert await run(command, "") == case.codes[command]
        await mend()

        async def over() -> bool:
            return not await is_down()

        await support.eventually(over)


async def test_the_runbook_of_a_full_queue_leads_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the database, so frames wait; then he lets it go."""
    database = SqliteDatabase(tmp_path / "status.db")
    async with serving(database, queue_frames=2) as status:
        await status.start("spring", 100)

        async def is_full() -> bool:
            found = await scrape(status.http_address)
            waiting = found.value("closeout_queue_frames")
            return waiting > 0.9 * found.value("closeout_queue_frames_limit")

        async with reporting(status.client) as stream:
            with database.held():
                for number in range(1, 7):
                    await stream.send("spring", *results([number]))
                await support.eventually(is_full)

            async def over() -> bool:
                return not await is_full()

            await support.eventually(over)
            await stream.acked(6)
        steps, _ = runbook("CloseoutQueueFull")
        for variable, value in at(status).items():
            monkeypatch.setenv(variable, value)
        for command in steps:
            assert await run(command, "spring") == 0


async def test_the_runbook_of_a_certificate_that_ends_leads_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new certificate takes the place of the old one, and no service is restarted."""
    authority = Authority(tmp_path)
    issued = authority.issue("tls", days=9)
    context = ssl.create_default_context(cafile=authority.ca_file)
    async with serving(tmp_path, **issued.settings()) as status:

        async def ends() -> bool:
            async with httpx.AsyncClient(verify=context, timeout=30) as client:
                found = parsed((await client.get(f"{status.url}/metrics")).text)
            end = found.value("closeout_certificate_end_timestamp_seconds")
            return end - time.time() < 14 * 86_400

        async def said() -> str:
            # The sender is not there, so the command as a whole does not succeed.
            assert await run("doctor", "") == 3
            shown = capsys.readouterr().out
            (line,) = re.findall(r"^.*certificate of the status.*$", shown, re.MULTILINE)
            return str(line)

        for variable, value in at(status).items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("CLOSEOUT_TLS_CA_FILE", str(authority.ca_file))
        assert runbook("CloseoutCertificateEnds") == (["doctor"], ["doctor"])
        await support.eventually(ends)
        assert "in 8 days" in await said()
        with capture_logs() as logs:
            authority.issue("tls", days=90)

            async def over() -> bool:
                return not await ends()

            await support.eventually(over)
        assert "certificate_replaced" in {line["event"] for line in logs}
        assert "in 89 days" in await said()


async def test_the_runbook_of_refused_keys_leads_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sender's key is revoked while a campaign is sent; a new one lets it go on."""
    async with keyed_pair(tmp_path) as both:
        ops = both.key("operators", name="ops")
        services = Services(both, monkeypatch, tmp_path)
        await both.stop_sender()
        await both.start_sender()
        both.channel.hold.clear()
        async with both.member("operators", ops) as member:
            await member.begin("spring", 60)

            async def refused() -> float:
                found = await scrape(both.status_http)
                return found.value("closeout_keys_refused_total", reason="KEY_REVOKED")

            with capture_logs() as logs:
                both.revoke(both.service_key)
                await support.eventually(refused)
            line = next(line for line in logs if line["event"] == "key_refused")
            for variable, value in services.environment().items():
                monkeypatch.setenv(variable, value)
            monkeypatch.setenv("CLOSEOUT_API_KEY", ops.text)
            steps, end = runbook("CloseoutKeysRefused")
            assert (steps, end) == (["keys list", "doctor", "check"], ["check"])
            both.channel.hold.set()
            assert await run("keys list", "") == 0
            (shown,) = re.findall(rf"^{line['key_id']}.*$", capsys.readouterr().out, re.MULTILINE)
            assert "REVOKED" in shown
            assert await run("doctor", "") == 3
            assert "[sender] status_api_key_file" in capsys.readouterr().out
            # A sender that may not report can't say so there, until the campaign stands.
            assert await run("check", "") == 0
            both.give_service_key()
            await member.finished("spring")
            assert await run("check", "") == 0

            async def over() -> bool:
                before = await refused()
                await asyncio.sleep(0.5)
                return await refused() == before

            await support.eventually(over)


def test_every_runbook_is_followed() -> None:
    """By a test above."""
    apart = {"StoreUnavailable", "QueueFull", "CertificateEnds", "KeysRefused"}
    assert {*FAULTS, *(f"Closeout{name}" for name in apart)} == set(NAMES)
