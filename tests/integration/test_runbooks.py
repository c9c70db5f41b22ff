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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from closeout.errors import ClientError
from closeout_cli.__main__ import main
from integration import sender_support as support
from integration.databases import PostgresqlDatabase, SqliteDatabase
from integration.keyed_pair import keyed_pair
from integration.scrapes import Scrape, parsed, scrape
from integration.sender_pair import Pair, pair
from integration.status_support import Status, reporting, results, serving
from integration.tls_support import Authority
from providers.plain_http import NO_TLS
from providers.postgresql_server import PostgresqlServer
from providers.prometheus_files import ALERTS, rules
from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.domain import ProblemKind
from status_service.reads.service import CampaignViews

pytestmark = pytest.mark.usefixtures("newest_numbers")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
NAMES = [rule["alert"] for rule in rules(ALERTS)]
REFUSED = Reply(
    Answer.PROVIDER_FAULT,
    code="535",
    detail="authentication failed",
    fault=Fault(
        ProblemKind.PROVIDER_REFUSES,
        "the provider refuses the login",
        setting="[scripted] password",
        needs_attention=True,
    ),
)


@dataclass
class Case:
    """A fault that is there.

    Attributes:
        condition: whether the condition of the alert holds.
        mend: does what the runbook says.
        campaign: what stands for ``ID``.
        codes: exit codes of commands of the runbook that are not 0 while the fault is there.
    """

    condition: Callable[[], Awaitable[bool]]
    mend: Callable[[], Awaitable[object]]
    campaign: str = "spring"
    codes: dict[str, int] = field(default_factory=dict)


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


# Faults


@dataclass
class Services:
    """Both services, and how to break them."""

    both: Pair
    monkeypatch: pytest.MonkeyPatch
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return where the command finds them."""
        return {
            "CLOSEOUT_SENDER_STATUS_ADDRESS": self.both.status_address,
            "CLOSEOUT_SENDER_LISTEN": self.both.sender_address,
            "CLOSEOUT_STATUS_HTTP_LISTEN": self.both.status_http,
            "CLOSEOUT_SENDER_HTTP_LISTEN": self.both.sender_http,
        }

    def by_hand(self, statement: str) -> None:
        """Run a statement in the database of the status service."""
        with SqliteDatabase(self.folder / "status.db").by_hand() as connection:
            connection.execute(statement)

    def status_says(self, test: Callable[[Scrape], bool]) -> Callable[[], Awaitable[bool]]:
        """Return whether something holds of a scrape of the status service."""
        return self._says(lambda: self.both.status_http, test)

    def sender_says(self, test: Callable[[Scrape], bool]) -> Callable[[], Awaitable[bool]]:
        """Return whether something holds of a scrape of the sender service."""
        return self._says(lambda: self.both.sender_http, test)

    def _says(
        self, address: Callable[[], str], test: Callable[[Scrape], bool]
    ) -> Callable[[], Awaitable[bool]]:
        async def says() -> bool:
            return test(await scrape(address()))

        return says


async def stand(services: Services) -> None:
    """Let a campaign of two messages stand for an hour."""
    await services.both.hold_calls()
    await services.both.begin("spring", 2)
    await support.eventually(
        services.sender_says(lambda s: s.sum("closeout_messages_in_flight") > 0)
    )
    services.by_hand("UPDATE campaigns SET start_time = start_time - 3600000000")


async def stalled(services: Services) -> Case:
    """The provider takes messages and answers none; then it answers."""
    await stand(services)

    async def mend() -> None:
        services.both.channel.hold.set()
        await services.both.ended("spring")

    return Case(
        services.status_says(lambda s: s.value("closeout_campaigns_stalled") > 0),
        mend,
        codes={"check": 2, "explain ID": 3},
    )


async def refused(services: Services) -> None:
    """Let the provider refuse the login, and start a campaign."""
    services.both.channel.script = lambda _: REFUSED
    services.both.channel.check_reply = REFUSED
    await services.both.begin("spring", 2)


async def accept_again(services: Services) -> None:
    """Correct the password, and restart the sender."""
    services.both.channel.script = lambda _: support.ACCEPTED
    services.both.channel.check_reply = support.ACCEPTED
    await services.both.stop_sender()
    await services.both.start_sender()
    await services.both.ended("spring")


async def needs_attention(services: Services) -> Case:
    """The provider refuses the login; then the password is corrected."""
    await refused(services)
    return Case(
        services.status_says(
            lambda s: (
                s.value("closeout_campaigns_need_attention") > s.value("closeout_campaigns_stalled")
            )
        ),
        lambda: accept_again(services),
        codes={"check": 1, "explain ID": 3},
    )


async def breaker_open(services: Services) -> Case:
    """The same, as the sender sees it."""
    await refused(services)
    channel = {"channel": "scripted"}
    return Case(
        services.sender_says(lambda s: s.value("closeout_provider_available", **channel) == 0),
        lambda: accept_again(services),
        codes={"explain ID": 3, "doctor": 3},
    )


async def down(services: Services) -> Case:
    """The sender does not run."""
    await services.both.stop_sender()

    async def is_down() -> bool:
        with suppress(httpx.HTTPError):
            await scrape(services.both.sender_http)
            return False
        return True

    return Case(is_down, services.both.start_sender, codes={"health": 1})


async def not_ready(services: Services) -> Case:
    """Another version of Closeout has migrated the database."""
    with SqliteDatabase(services.folder / "status.db").by_hand() as connection:
        ((version,),) = connection.execute("SELECT version_num FROM closeout_status_version")
    services.by_hand("UPDATE closeout_status_version SET version_num = '9999'")

    async def mend() -> None:
        """Install the version of the database, which is this one, and restart."""
        services.by_hand(f"UPDATE closeout_status_version SET version_num = '{version}'")  # noqa: S608
        await services.both.stop_status()
        await services.both.start_status()

    async def is_not_ready() -> bool:
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            await client.get(f"http://{services.both.status_http}/readyz")
        return (await scrape(services.both.status_http)).value("closeout_ready") == 0

    return Case(is_not_ready, mend, codes={"health": 1})


async def unreported(services: Services) -> Case:
    """The status service is away while messages get their outcome."""
    await services.both.hold_calls()
    await services.both.begin("spring", 4)
    await support.eventually(
        services.sender_says(lambda s: s.sum("closeout_messages_in_flight") > 0)
    )
    await services.both.stop_status()
    services.both.channel.hold.set()

    async def mend() -> None:
        await services.both.start_status()
        await services.both.ended("spring")

    return Case(
        services.sender_says(lambda s: s.value("closeout_oldest_unreported_seconds") > 0),
        mend,
        codes={"doctor": 3, "list --stuck": 5},
    )


async def reporting_down(services: Services) -> Case:
    """The same, as the stream of results sees it."""
    case = await unreported(services)
    case.condition = services.sender_says(
        lambda s: (
            s.value("closeout_reporting_streams_connected") == 0
            and s.value("closeout_campaigns_at_work") > 0
        )
    )
    return case


async def sending_held(services: Services) -> Case:
    """The sender starts while the status service is away; then that is back."""
    case = await unreported(services)
    await services.both.stop_sender()
    await services.both.start_sender()
    case.condition = services.sender_says(lambda s: s.value("closeout_campaigns_held") > 0)
    return case


async def failures_high(services: Services) -> Case:
    """The provider refuses every address; then it takes them."""
    services.both.channel.script = lambda m: (
        support.ACCEPTED if m.sequence == 1 else Reply(Answer.REFUSED, code="550")
    )
    await services.both.begin("spring", 6)
    await services.both.create("waits", 1)
    await services.both.sender.start_campaign(campaign_id="waits")

    async def fails() -> bool:
        found = await scrape(services.both.sender_http)
        failed = found.sum("closeout_messages_total", outcome="failed")
        return failed > 0.2 * found.sum("closeout_messages_total")

    async def mend() -> None:
        services.both.channel.script = lambda _: support.ACCEPTED
        await services.both.begin("others", 60)
        await services.both.ended("others")

    await support.eventually(fails)
    await services.both.ended("spring")
    return Case(fails, mend, codes={"pause ID": 1, "resume ID": 1, "resend ID --to failed": 0})


async def repairs_found(services: Services) -> Case:
    """A campaign of which every message has a result is open, by a change by hand."""
    await services.both.begin("spring", 2)
    await services.both.ended("spring")
    services.by_hand("UPDATE campaigns SET state = 'SENDING', complete_time = NULL")
    await services.both.status.repair_campaigns()
    return Case(
        services.status_says(
            lambda s: s.value("closeout_repairs_total", diagnosis="FULLY_PROCESSED") > 0
        ),
        _nothing,
    )


async def counter_drift(services: Services) -> Case:
    """The counters of a campaign are wrong, by a change by hand."""
    await services.both.status.create_campaign(campaign_id="spring")
    await services.both.status.start_campaign(campaign_id="spring", total=3)
    services.by_hand("UPDATE campaigns SET sent = 2")
    await services.both.status.repair_campaigns()
    return Case(
        services.status_says(
            lambda s: s.value("closeout_repairs_total", diagnosis="COUNTER_DRIFT") > 0
        ),
        _nothing,
    )


async def errors(services: Services) -> Case:
    """A defect of the service, which a new version mends."""
    failing = services.monkeypatch.context()
    patched = failing.__enter__()

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    patched.setattr(CampaignViews, "get_with_pace", broken)
    with pytest.raises(ClientError):
        await services.both.status.get_campaign(campaign_id="spring")
    before = 0.0

    async def fails() -> bool:
        nonlocal before
        with suppress(ClientError):
            await services.both.status.get_campaign(campaign_id="spring")
        found = await scrape(services.both.status_http)
        failed = found.sum("grpc_server_handled_total", grpc_code="Internal")
        is_more, before = failed > before, failed
        return is_more

    async def mend() -> None:
        failing.__exit__(None, None, None)

    return Case(fails, mend)


async def _nothing() -> None:
    """Mend nothing: the service has."""


FAULTS = {
    "CloseoutCampaignStalled": stalled,
    "CloseoutCampaignNeedsAttention": needs_attention,
    "CloseoutServiceDown": down,
    "CloseoutNotReady": not_ready,
    "CloseoutResultsUnreported": unreported,
    "CloseoutReportingDown": reporting_down,
    "CloseoutSendingHeld": sending_held,
    "CloseoutBreakerOpen": breaker_open,
    "CloseoutFailuresHigh": failures_high,
    "CloseoutRepairsFound": repairs_found,
    "CloseoutCounterDrift": counter_drift,
    "CloseoutErrors": errors,
}
#: Alerts that end by the time alone.
LASTING = {"CloseoutRepairsFound", "CloseoutCounterDrift"}


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
