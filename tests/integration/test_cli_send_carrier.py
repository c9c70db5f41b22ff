"""``closeout send`` on a channel that only its sender knows, and stopped on its way."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
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

CAMPAIGN = 'name = "Push"\nchannel = "carrier"\n[content]\ntext = "Hello {{ name }}"\n'
PEOPLE = "address,name\nA1,Zoë\nA2,\n"


class Status(status_pb2_grpc.StatusServiceServicer):
    """A status service that knows no campaign, and keeps what is cancelled."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    async def GetCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Know none."""
        await context.abort(grpc.StatusCode.NOT_FOUND, "campaign not found")

    async def CancelCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Keep it."""
        self.cancelled.append(request.campaign_id)
        return pb.CancelCampaignResponse(transitioned=True)


class Sender(sender_pb2_grpc.SenderServiceServicer):
    """A sender that takes no address of the channel ``carrier``."""

    def __init__(self) -> None:
        self.created: list[sender_pb2.CreateCampaignRequest] = []
        self.was_there = False
        self.stuck = False
        self.uploading = asyncio.Event()

    async def CreateCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Keep it; render a preview."""
        self.created.append(request)
        name = request.preview_recipient.fields.fields["name"].string_value
        return sender_pb2.CreateCampaignResponse(
            campaign_id=request.campaign_id,
            created=not self.was_there,
            preview=f"Hello {name}\n" if request.validate_only else "",
        )

    async def UploadRecipients(self, request_iterator: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Take none, or never answer."""
        async for _ in request_iterator:
            pass
        self.uploading.set()
        if self.stuck:
            await asyncio.Event().wait()
        rejected = sender_pb2.UploadRecipientsResponse.RejectedRow(
            row=1, address="A2", reason="no such device"
        )
        return sender_pb2.UploadRecipientsResponse(invalid=2, rejected_rows=[rejected])


@dataclass
class Services:
    """Both services, two files, and the environment of the command."""

    folder: Path
    status: Status = field(default_factory=Status)
    sender: Sender = field(default_factory=Sender)
    environment: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ("send", "c.toml", "--recipients", "r.csv")

    async def send(self, *words: str) -> tuple[int, str, str]:
        """Send; return exit code, output and errors."""
        return await finished(*self.words, *words, folder=self.folder, environment=self.environment)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    """Both services on free ports."""
    made = Services(tmp_path)
    (tmp_path / "c.toml").write_text(CAMPAIGN, encoding="utf-8")
    (tmp_path / "r.csv").write_text(PEOPLE, encoding="utf-8")
    async with AsyncExitStack() as stack:
        ports = []
        for add, servicer in (
            (status_pb2_grpc.add_StatusServiceServicer_to_server, made.status),
            (sender_pb2_grpc.add_SenderServiceServicer_to_server, made.sender),
        ):
            server = grpc.aio.server()
            add(servicer, server)  # type: ignore[arg-type] # each has its own kind
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            stack.push_async_callback(server.stop, None)
        made.environment = clean_environment() | {
            "CLOSEOUT_SENDER_STATUS_ADDRESS": f"127.0.0.1:{ports[0]}",
            "CLOSEOUT_SENDER_LISTEN": f"127.0.0.1:{ports[1]}",
        }
        yield made


async def test_a_preview_is_the_senders(services: Services) -> None:
    """The sender compiles and renders; nothing else is called."""
    code, out, err = await services.send("--preview")
    assert (code, out, err) == (0, "Hello Zoë\n", "")
    (request,) = services.sender.created
    assert request.validate_only
    assert list(request.recipient_fields.names) == ["name"]
    code, out, _ = await services.send("--preview", "--recipient", "2")
    assert (code, out) == (0, "Hello \n")


async def test_the_sender_learns_family_and_fields(services: Services) -> None:
    """What the file says, or that variables are not to be checked."""
    await services.send("--allow-unknown-variables")
    (services.folder / "c.toml").write_text(f"id = 'push'\nrepeat_after_days = 2\n{CAMPAIGN}")
    await services.send()
    first, second = services.sender.created
    assert (first.family, first.HasField("repeat_after")) == ("Push", False)
    assert not first.HasField("recipient_fields")
    assert (second.family, second.repeat_after.ToTimedelta().days) == ("push", 2)
    assert list(second.recipient_fields.names) == ["name"]


async def test_a_draft_without_anybody_is_cancelled(services: Services) -> None:
    """The reasons are shown, and nothing stays of what this command created."""
    code, _, err = await services.send("--campaign-id", "push-1")
    assert code == 2
    assert "none of the 2 rows of r.csv can be sent to; the campaign was cancelled" in err
    assert "  line 3: A2: no such device" in err
    assert services.status.cancelled == ["push-1"]


async def test_a_draft_that_was_there_stays(services: Services) -> None:
    """What another command created is not ended by this one."""
    services.sender.was_there = True
    code, _, err = await services.send("--campaign-id", "push-1")
    assert code == 2
    assert "the draft push-1 stays (closeout cancel push-1 ends it)" in err
    assert services.status.cancelled == []


async def test_an_interrupted_send_says_how_it_goes_on(services: Services) -> None:
    """Ctrl-C on the way ends with 130, and names the two ways on."""
    services.sender.stuck = True
    words = (*services.words, "--campaign-id", "push-1")
    async with started(*words, folder=services.folder, environment=services.environment) as process:
        await services.sender.uploading.wait()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode() == (
        "closeout: interrupted: the same command again goes on with campaign push-1 where it"
        " stopped; closeout cancel push-1 ends it\n"
    )
