"""A fault for each runbook of docs/operations.md, and how its cause is mended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from closeout.errors import ClientError
from integration import sender_support as support
from integration.databases import SqliteDatabase
from integration.scrapes import Scrape, scrape
from integration.sender_pair import Pair
from providers.plain_http import NO_TLS
from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.domain import ProblemKind
from status_service.reads.service import CampaignViews

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
