"""What the command makes of answers that no service of this version gives on demand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from closeout.sender.v1 import sender_pb2, sender_pb2_grpc
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1 import status_pb2_grpc
from integration.cli_support import clean_environment, finished, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_UNKNOWN = 77
_LATER = datetime(2099, 1, 1, tzinfo=UTC)


def problem() -> pb.Problem:
    """Return a problem with every field."""
    return pb.Problem(
        kind=pb.Problem.PROVIDER_UNREACHABLE,
        summary="the mail server refuses the login",
        detail="535 5.7.8 failed",
        setting="[smtp] password",
        needs_attention=True,
    )


class ScriptedStatus(status_pb2_grpc.StatusServiceServicer):
    """A status service with one campaign, which keeps the requests it got."""

    def __init__(self) -> None:
        self.campaign = pb.Campaign(
            campaign_id="c",
            display_name="Spring",
            state=pb.Campaign.SCHEDULED,
            revision=4,
            labels={"list": "news", "tenant": "a"},
        )
        self.campaign.schedule_time.FromDatetime(_LATER)
        self.listed: list[pb.ListCampaignsRequest] = []
        #: Deadlines of the calls that no answer comes to, seconds.
        self.deadlines: list[float] = []

    async def GetCampaign(  # noqa: N802
        self,
        request: pb.GetCampaignRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> pb.GetCampaignResponse:
        """Return the campaign."""
        return pb.GetCampaignResponse(campaign=self.campaign)

    async def ListCampaigns(  # noqa: N802
        self,
        request: pb.ListCampaignsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListCampaignsResponse:
        """Return the campaign."""
        self.listed.append(request)
        return pb.ListCampaignsResponse(campaigns=[self.campaign])

    async def WatchCampaign(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Show the campaign, and no end of it."""
        yield pb.WatchCampaignResponse(campaign=self.campaign)
        await asyncio.Event().wait()

    async def _too_late(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        self.deadlines.append(context.time_remaining())
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    ExplainCampaign = MarkComplete = RepairCampaigns = _too_late


class ScriptedSender(sender_pb2_grpc.SenderServiceServicer):
    """A sender whose campaign was started before, and waits."""

    def __init__(self) -> None:
        self.delivery = sender_pb2.GetDeliveryResponse(
            campaign_id="c",
            phase=sender_pb2.GetDeliveryResponse.STARTED,
            total=120,
            finished=50,
            shards=3,
            finished_shards=1,
            leased_shards=2,
            problems=[problem(), pb.Problem(kind=_UNKNOWN, summary="of a newer sender")],
        )
        self.started: list[sender_pb2.StartCampaignRequest] = []

    async def CreateCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Know the campaign."""
        return sender_pb2.CreateCampaignResponse(campaign_id=request.campaign_id)

    async def UploadRecipients(self, request_iterator: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Know the recipients."""
        async for _ in request_iterator:
            pass
        return sender_pb2.UploadRecipientsResponse(accepted=1, total=1)

    async def StartCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Start only what is to start now."""
        self.started.append(request)
        return sender_pb2.StartCampaignResponse(total=1, transitioned=request.start_now)

    async def GetDelivery(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Return how the delivery stands."""
        return self.delivery


@dataclass
class Scripted:
    """Both services, and ``closeout`` with their addresses."""

    folder: Path
    status: ScriptedStatus = field(default_factory=ScriptedStatus)
    sender: ScriptedSender = field(default_factory=ScriptedSender)
    environment: dict[str, str] = field(default_factory=dict)

    async def closeout(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, output and errors."""
        return await finished(*words, folder=self.folder, environment=self.environment)


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[Scripted]:
    """Both services on free ports."""
    services = Scripted(tmp_path)
    async with AsyncExitStack() as stack:
        ports = []
        for add, servicer in (
            (status_pb2_grpc.add_StatusServiceServicer_to_server, services.status),
            (sender_pb2_grpc.add_SenderServiceServicer_to_server, services.sender),
        ):
            server = grpc.aio.server()
            add(servicer, server)  # type: ignore[arg-type] # each has its own kind
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            stack.push_async_callback(server.stop, None)
        services.environment = clean_environment() | {
            "CLOSEOUT_SENDER_STATUS_ADDRESS": f"127.0.0.1:{ports[0]}",
            "CLOSEOUT_SENDER_LISTEN": f"127.0.0.1:{ports[1]}",
        }
        yield services


async def test_status_shows_labels_revision_and_problems(scripted: Scripted) -> None:
    """All that holds a campaign up: what, the other side's words, the setting; enums are open."""
    scripted.status.campaign.state = _UNKNOWN  # type: ignore[assignment] # of a newer service
    code, out, err = await scripted.closeout("status", "c")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "labels list=news, tenant=a",
        "state 77",
        "revision 4",
        "problem the mail server refuses the login (PROVIDER_UNREACHABLE, needs attention)",
        "detail 535 5.7.8 failed",
        "setting [smtp] password",
        "problem of a newer sender (77)",
    ):
        assert line in lines
    assert any(line == "delivery ready, 50 of 120 messages finished" for line in lines)


async def test_list_asks_for_labels(scripted: Scripted) -> None:
    """Each --label is one more that a campaign must have."""
    words = ("list", "--label", "list=news", "--label", "tenant=a=b")
    code, out, _ = await scripted.closeout(*words)
    assert (code, out.split()[0]) == (0, "c")
    (request,) = scripted.status.listed
    assert dict(request.labels) == {"list": "news", "tenant": "a=b"}


async def test_stuck_campaigns_are_listed_also_without_what_they_wait_for(
    scripted: Scripted,
) -> None:
    """A service that has to count for too long still lists them."""
    code, out, err = await scripted.closeout("list", "--stuck")
    assert (code, out.split()[0]) == (0, "c")
    assert "did not say within 20 s" in err
    assert err.count("\n") == 1


async def test_watch_says_what_the_sender_waits_for(scripted: Scripted) -> None:
    """One line on standard error has every problem, with detail and setting."""
    async with started(
        "watch", "c", folder=scripted.folder, environment=scripted.environment
    ) as process:
        assert process.stderr is not None
        line = b""
        while b"the sender waits" not in line:
            line = await process.stderr.readline()
            assert line, "watch ended"
    assert line.decode() == (
        "closeout: the sender waits: the mail server refuses the login: 535 5.7.8 failed"
        " (setting [smtp] password); it needs attention; of a newer sender\n"
    )


async def test_a_repeated_send_keeps_the_time_and_says_so(scripted: Scripted) -> None:
    """A scheduled campaign is not sent early by a repeated command, but by --now."""
    (scripted.folder / "c.toml").write_text(
        'name = "x"\nchannel = "console"\n[content]\ntext = "t"\n'
    )
    (scripted.folder / "r.csv").write_text("email\na@example.com\n")
    words = ("send", "c.toml", "--recipients", "r.csv", "--campaign-id", "c")
    code, out, _ = await scripted.closeout(*words)
    assert code == 0
    kept = "already scheduled for 2099-01-01 00:00:00+00:00, which stays (--now starts it at once)"
    assert kept in out
    code, out, _ = await scripted.closeout(*words, "--now")
    assert code == 0
    assert "started now, instead of at 2099-01-01 00:00:00+00:00: 1 message" in out
    assert [request.start_now for request in scripted.sender.started] == [False, True]
    code, _, err = await scripted.closeout(*words, "--now", "--start-time", "2099-01-01")
    assert (code, "use either --now or --start-time" in err) == (2, True)


@pytest.mark.parametrize("words", [("explain", "c"), ("mark-complete", "c"), ("fix",)])
async def test_a_look_at_every_message_has_a_minute(
    scripted: Scripted, words: tuple[str, ...]
) -> None:
    """Whoever waits for a large campaign is not sent away as if no service were there."""
    code, out, err = await scripted.closeout(*words)
    assert (code, out) == (5, "")
    assert "within 60 s; it is probably still working" in err
    assert "closeout up" not in err
    assert scripted.status.deadlines[0] > 30


async def test_a_completion_by_force_has_an_hour(scripted: Scripted) -> None:
    """Millions of messages take longer to record than to look at."""
    words = ("mark-complete", "c", "--force", "--reason", "gone", "--yes")
    code, out, err = await scripted.closeout(*words)
    assert (code, out) == (5, "")
    assert "within 3,600 s; it is probably still working" in err
    assert scripted.status.deadlines[0] > 3_000
