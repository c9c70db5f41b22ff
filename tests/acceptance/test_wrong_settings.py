"""The mistakes of a first day: each is named with its setting by everybody who is asked."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from acceptance.deployment import CAMPAIGN_ID, Deployment, deployed
from closeout.aio import SenderClient
from closeout.sender.v1 import sender_pb2
from integration.cli_support import clean_environment, finished
from providers.held_port import HeldPort
from providers.http_provider import HttpProvider
from providers.smtp_provider import SteppedProvider

BIN = Path(sys.executable).parent
#: The exit code of a command that found something that needs attention.
NEEDS_ATTENTION = 3
#: So long the sender may take to say why it waits, where the other side is silent. The
#: product promises five seconds from `closeout send`; a busy machine gets more.
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Mistake:
    """One wrong setting.

    Attributes:
        setting: the setting that everybody names.
        words: what the cause has in it.
        settings: the environment of the sender beside a host and a port that are right.
        steps: what the mail server does; see ``providers.stepped_smtp``.
        tls: whether the mail server begins with TLS.
        login: whether it asks for a login.
    """

    setting: str
    words: str
    settings: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    tls: bool = False
    login: bool = False


LOGIN = {"CLOSEOUT_SMTP_USERNAME": "ann", "CLOSEOUT_SMTP_PASSWORD": "not it"}
MISTAKES = {
    "host": Mistake(
        "[smtp] host",
        "there is no server named mail.nowhere.invalid",
        {"CLOSEOUT_SMTP_HOST": "mail.nowhere.invalid"},
    ),
    "port": Mistake("[smtp] host, port", "refuses connections", {"CLOSEOUT_SMTP_PORT": "PORT"}),
    "silent port": Mistake("[smtp] security", "did not greet", steps={"greeting": "hang"}),
    "password": Mistake("[smtp] username, password", "refuses the login of ann", LOGIN, login=True),
    "certificate": Mistake(
        "[smtp] ca_file",
        "certificate",
        {"CLOSEOUT_SMTP_SECURITY": "tls"},
        tls=True,
    ),
    "TLS on a plain port": Mistake(
        "[smtp] security", "does not speak TLS", {"CLOSEOUT_SMTP_SECURITY": "tls"}
    ),
    "sender address": Mistake(
        "content.from",
        "refuses the sender address",
        steps={"mail": "553 5.7.1 Sender address rejected: not owned by user"},
    ),
}


async def closeout(deployment: Deployment, *words: str) -> tuple[int, str, str]:
    """Run the command against the services; return its exit code, output and errors."""
    addresses = {
        "CLOSEOUT_STATUS_LISTEN": deployment.status.address,
        "CLOSEOUT_SENDER_LISTEN": deployment.sender.address,
        "CLOSEOUT_SENDER_STATUS_ADDRESS": deployment.status.address,
    }
    folder = deployment.status.folder
    return await finished(*words, folder=folder, environment=clean_environment() | addresses)


async def explained(deployment: Deployment) -> str:
    """Return what `closeout explain` prints once it says that something needs attention."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            code, out, _ = await closeout(deployment, "explain", CAMPAIGN_ID)
            if code == NEEDS_ATTENTION:
                return out
            await asyncio.sleep(POLL_SECONDS)


async def is_named_by_everybody(deployment: Deployment, setting: str, words: str) -> None:
    """Ask explain, fix, status, grpcurl and the log for the cause and its setting."""
    text = await explained(deployment)
    assert words in text
    assert setting in text
    for command, expected in (
        (("fix", "--dry-run"), NEEDS_ATTENTION),
        (("status", CAMPAIGN_ID), 0),
    ):
        code, out, err = await closeout(deployment, *command)
        assert code == expected, err
        assert words.lower() in out.lower(), command
        assert setting in out, command
    called = await asyncio.to_thread(
        subprocess.run,  # the grpcurl of the environment
        [
            str(BIN / "grpcurl"),
            "-plaintext",
            "-d",
            json.dumps({"campaign_id": CAMPAIGN_ID}),
            deployment.status.address,
            "closeout.status.v1.StatusService/ExplainCampaign",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer = json.loads(called.stdout)
    problem = answer["diagnosis"]["campaign"]["problems"][0]
    assert words in problem["summary"]
    assert problem["setting"].startswith(setting)
    assert answer["diagnosis"]["needs_attention"]
    assert setting in answer["diagnosis"]["action"]
    assert "not it" not in called.stdout + deployment.sender.log


def logged(deployment: Deployment) -> list[str]:
    """Return the settings that the sender's log names."""
    return [str(line["setting"]) for line in deployment.sender.events() if line.get("setting")]


def certificate() -> ssl.SSLContext:
    """Return a certificate that nobody trusts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_wrong_setting_of_the_mail_server_is_named(tmp_path: Path, name: str) -> None:
    """Nobody's message fails by it, and once the server is right the campaign completes."""
    mistake = MISTAKES[name]
    provider = SteppedProvider(
        dict(mistake.steps),
        tls=certificate() if mistake.tls else None,
        tls_from_start=mistake.tls,
        login=("ann", "right") if mistake.login else None,
    )
    with HeldPort() as closed:
        port = closed.address.rpartition(":")[2]
        settings = {key: value.replace("PORT", port) for key, value in mistake.settings.items()}
        async with deployed(tmp_path, provider, **settings) as deployment:
            await deployment.send(["zoe@shop.example", "sam@shop.example"])
            await is_named_by_everybody(deployment, mistake.setting, mistake.words)
            if name != "silent port":  # the log has it when the sender gives up waiting
                assert any(found.startswith(mistake.setting) for found in logged(deployment))
            campaign = await deployment.campaign()
            assert (campaign.failed, campaign.unknown, campaign.pending) == (0, 0, 2)


async def test_a_wrong_path_of_the_webhook_is_named(tmp_path: Path) -> None:
    """A million recipients would be FAILED by it otherwise."""
    async with (
        HttpProvider() as web,
        deployed(
            tmp_path,
            SteppedProvider(),
            CLOSEOUT_WEBHOOK_URL=web.url.replace("/messages", "/masseges"),
        ) as deployment,
    ):
        async with SenderClient(deployment.sender.address) as sender:
            await sender.create_campaign(
                campaign_id=CAMPAIGN_ID,
                channel="webhook",
                body=sender_pb2.TextContent(text="Hello"),
            )
            await sender.upload_recipients(
                campaign_id=CAMPAIGN_ID,
                upload_id="audience",
                batches=[[sender_pb2.Recipient(address=f"person-{n}") for n in range(50)]],
            )
            await sender.start_campaign(campaign_id=CAMPAIGN_ID)
        await is_named_by_everybody(deployment, "[webhook] url", "knows no such path")
        assert "[webhook] url" in logged(deployment)
        campaign = await deployment.campaign()
        assert (campaign.failed, campaign.unknown, campaign.pending) == (0, 0, 50)
