"""``closeout send`` against both services and a provider, as a user runs it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acceptance.forked import ForkedService
from closeout_cli.demo.provider import DemoBehaviour, Move, SmtpProvider
from closeout_cli.up import Listen, sender_settings, status_settings
from integration.cli_support import clean_environment, finished, started
from integration.migrated import make_file
from providers.held_port import HeldPort
from sender_service.migrations import MIGRATIONS as SENDER_MIGRATIONS
from status_service.migrations import MIGRATIONS as STATUS_MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

EXAMPLES = Path(__file__).parents[2] / "examples"
ANY_PORT = Listen("127.0.0.1:0", "127.0.0.1:0")
CAMPAIGN = """
name = "Letter"
[content]
subject = "Hello {{ name }}"
text = "Hello {{ name }}"
from = "news@example.com"
[retry]
initial_backoff_seconds = 0.05
"""


PERSON = "email,name\na@example.com,Zoë\n"


class Obliging(DemoBehaviour):
    """A provider that accepts everything."""

    def on_recipient(self, address: str) -> Move | str:  # noqa: ARG002
        """Accept."""
        return Move.ACCEPT


@dataclass
class System:
    """Both services, the provider, and ``closeout`` beside them."""

    folder: Path
    provider: SmtpProvider
    environment: dict[str, str]

    def started(self, *words: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """Start a command for the time of a block."""
        return started(*words, folder=self.folder, environment=self.environment)

    async def closeout(self, *words: str, given: bytes = b"") -> tuple[int, str, str]:
        """Run a command, with ``given`` as its input; return its exit code, output and errors."""
        return await finished(*words, folder=self.folder, environment=self.environment, given=given)

    def write(self, name: str, text: str) -> str:
        """Write a file and return its name."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def recipients(self) -> list[str]:
        """Whom the provider accepted messages for."""
        return sorted(entry.recipient for entry in self.provider.ledger.accepted)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    clean = clean_environment()
    async with AsyncExitStack() as stack:
        port = stack.enter_context(HeldPort()).port
        provider = await stack.enter_async_context(SmtpProvider(Obliging(), port=port))
        smtp = {
            "CLOSEOUT_SMTP_HOST": "127.0.0.1",
            "CLOSEOUT_SMTP_PORT": str(provider.port),
            "CLOSEOUT_SMTP_SECURITY": "none",
        }

        make_file(tmp_path / "status.db", STATUS_MIGRATIONS)
        make_file(tmp_path / "sender.db", SENDER_MIGRATIONS)

        async def started(name: str, settings: Mapping[str, str]) -> str:
            line = f"{name} service listening on "
            service = ForkedService(f"{name}_service", line, tmp_path, settings)
            stack.enter_context(service)
            return await asyncio.to_thread(service.start)

        status = await started("status", status_settings(tmp_path, ANY_PORT))
        sender = await started("sender", {**sender_settings(tmp_path, ANY_PORT, status), **smtp})
        found = {"CLOSEOUT_SENDER_STATUS_ADDRESS": status, "CLOSEOUT_SENDER_LISTEN": sender}
        yield System(tmp_path, provider, {**clean, **found})


async def test_a_campaign_goes_out_and_completes(system: System) -> None:
    """Every valid address once; the output names the line of each rejected row."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write(
        "r.csv",
        'id,email,name\n1,a@example.com,"Doe, Zoë"\n2,nobody,x\n3,b@example.com,B\n'
        "4,a@EXAMPLE.com,again\n",
    )
    words = ("send", campaign, "--recipients", recipients, "--watch")
    code, out, err = await system.closeout(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "r.csv: 4 rows, 2 accepted, 1 duplicate, 1 invalid" in lines
    assert any(line.startswith("  line 3: nobody: ") for line in lines)
    assert lines[-1] == "COMPLETED total=2 sent=2 failed=0 skipped=0 unknown=0"
    assert system.recipients() == ["a@example.com", "b@example.com"]

    code, out, err = await system.closeout(*words)
    assert (code, err) == (0, "")
    assert "this campaign was sent before: COMPLETED " in out
    assert "nothing was sent again" in out
    assert out.splitlines()[-1] == lines[-1]
    assert system.recipients() == ["a@example.com", "b@example.com"]


async def test_send_speaks_json(system: System) -> None:
    """A script gets the id and the counts."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", "email,name\na@example.com,A\nnobody,B\n")
    code, out, _ = await system.closeout("send", campaign, "--recipients", recipients, "--json")
    assert code == 0
    plain = json.loads(out)
    assert (plain["accepted"], plain["invalid"], plain["total"]) == (1, 1, 1)
    code, out, _ = await system.closeout("watch", plain["campaign_id"])
    assert (code, out.splitlines()[-1][:22]) == (0, "COMPLETED total=1 sent")


async def test_a_provider_that_is_down_is_waited_for(system: System) -> None:
    """The campaign waits, `watch` and `status` say why, and it goes on by itself."""
    await system.provider.__aexit__(None, None, None)
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    named = ("--recipients", recipients, "--campaign-id", "waits")
    assert (await system.closeout("send", campaign, *named))[0] == 0
    async with system.started("watch", "waits") as process:
        assert process.stderr is not None
        said = (await process.stderr.readline()).decode()
        assert said.startswith("closeout: the sender waits: ")
        assert "Connection refused" in said
        _, status, _ = await system.closeout("status", "waits")
        assert "PROVIDER_UNREACHABLE" in status
        assert "Connection refused" in status
        async with SmtpProvider(Obliging(), port=system.provider.port) as provider:
            out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.splitlines()[-1] == b"COMPLETED total=1 sent=1 failed=0 skipped=0 unknown=0"
    assert [entry.recipient for entry in provider.ledger.accepted] == ["a@example.com"]


async def test_a_broken_template_shows_the_place(system: System) -> None:
    """File, line and column, the line itself, and a mark below the column."""
    system.write("letter.txt", "Hello\nyour {{ name | upcaze }}\n")
    text = CAMPAIGN.replace('text = "Hello {{ name }}"', 'text_file = "letter.txt"')
    campaign = system.write("c.toml", text)
    recipients = system.write("r.csv", PERSON)
    code, out, err = await system.closeout("send", campaign, "--recipients", recipients)
    assert (code, out) == (2, "")
    first, line, mark = err.splitlines()
    assert first.startswith("closeout: letter.txt:2:")
    assert "upcaze" in first
    assert line == "  your {{ name | upcaze }}"
    assert line[mark.index("^") :].startswith("upcaze")


async def test_a_scheduled_campaign_waits(system: System) -> None:
    """The same command is no change, another time moves it, none keeps it; --now starts it."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--campaign-id", "later")
    first, second = "2099-01-01 00:00:00+00:00", "2099-02-01 00:00:00+00:00"
    for time, text in (
        (first, f"scheduled for {first}: 1 message"),
        (first, f"already scheduled for {first}, which stays (--now starts it at once)"),
        (second, f"moved from {first} to {second}"),
    ):
        code, out, err = await system.closeout(*words, "--start-time", time)
        assert (code, err) == (0, "")
        assert text in out.splitlines()
    code, out, _ = await system.closeout(*words)
    assert code == 0
    assert f"already scheduled for {second}, which stays" in out
    _, out, _ = await system.closeout("status", "later")
    assert "state          SCHEDULED (starts in " in out
    assert system.recipients() == []
    code, out, _ = await system.closeout(*words, "--now", "--watch")
    assert code == 0
    assert f"started now, instead of at {second}: 1 message" in out
    assert system.recipients() == ["a@example.com"]


async def test_a_past_start_creates_nothing(system: System) -> None:
    """A mistyped year is refused, and no draft stays."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--start-time", "2020-01-01T00:00")
    code, out, err = await system.closeout(*words)
    assert (code, out) == (2, "")
    assert "is past; nothing was created" in err
    assert (await system.closeout("list"))[1] == ""


async def test_a_command_with_a_time_is_safe_to_repeat_after_it(system: System) -> None:
    """The time is past then, which is no wrong request: the campaign began at it."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--watch")
    assert (await system.closeout(*words))[0] == 0
    code, out, err = await system.closeout(*words, "--start-time", "2020-01-01T00:00")
    assert (code, err) == (0, "")
    assert "this campaign was sent before: COMPLETED " in out
    assert system.recipients() == ["a@example.com"]


async def test_a_cancelled_campaign_is_not_sent_again(system: System) -> None:
    """The text names the way to send it after all."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--campaign-id", "later")
    assert (await system.closeout(*words, "--start-time", "2099-01-01"))[0] == 0
    assert (await system.closeout("cancel", "later"))[0] == 0
    code, out, err = await system.closeout(*words)
    assert (code, out) == (1, "")
    assert "campaign later was cancelled; nothing was sent" in err
    assert "--campaign-id later-2" in err
    assert system.recipients() == []


async def test_other_rows_for_a_frozen_audience_are_refused(system: System) -> None:
    """The text says what to do now."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--campaign-id", "later")
    assert (await system.closeout(*words, "--start-time", "2099-01-01"))[0] == 0
    system.write("r.csv", PERSON + "b@example.com,B\n")
    code, _, err = await system.closeout(*words, "--json")
    error = json.loads(err)["error"]
    assert (code, error["reason"]) == (1, "AUDIENCE_FROZEN")
    assert "was started with other rows than r.csv has" in error["message"]


async def test_an_id_that_is_taken_is_refused(system: System) -> None:
    """Other content is another campaign, and needs another id."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--campaign-id", "later")
    assert (await system.closeout(*words, "--start-time", "2099-01-01"))[0] == 0
    system.write("c.toml", CAMPAIGN.replace("Hello", "Hallo"))
    code, out, err = await system.closeout(*words)
    assert (code, out) == (1, "")
    assert "campaign later exists with other content" in err
    assert "Send c.toml with another --campaign-id, or without one" in err


async def test_nobody_to_send_to_leaves_no_draft(system: System) -> None:
    """Checked here where that is possible; else the draft that was created is cancelled."""
    recipients = system.write("r.csv", "email,name\nnobody,B\n,C\n")
    campaign = system.write("c.toml", CAMPAIGN)
    code, _, err = await system.closeout("send", campaign, "--recipients", recipients)
    assert code == 2
    assert "none of the 2 rows of r.csv can be sent to; nothing was created" in err
    assert (await system.closeout("list"))[1] == ""


async def test_a_test_message_goes_to_its_addresses_alone(system: System) -> None:
    """It has the fields of the first recipient who can be sent to; no campaign is made."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", "email,name\nnobody,N\na@example.com,Zoë\n")
    words = ("send", campaign, "--recipients", recipients)
    code, out, err = await system.closeout(
        *words, "--test", "me@example.com", "--test", "you@example.com"
    )
    assert (code, err) == (0, "")
    first, *attempts = out.splitlines()
    assert first == "the message to row 2, as a test outside the campaign:"
    assert [line.split(":")[0] for line in attempts] == [
        "SENT me@example.com",
        "SENT you@example.com",
    ]
    assert system.recipients() == ["me@example.com", "you@example.com"]
    assert (await system.closeout("list"))[1] == ""


async def test_a_test_message_that_fails_says_what_to_correct(system: System) -> None:
    """Without a provider the exit code is 1, and the cause is named, in JSON as well."""
    await system.provider.__aexit__(None, None, None)
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--test", "me@example.com")
    code, out, _ = await system.closeout(*words)
    assert code == 1
    assert "FAILED me@example.com" in out
    code, document, _ = await system.closeout(*words, "--json")
    (attempt,) = json.loads(document)["attempts"]
    assert (code, attempt["outcome"]) == (1, "FAILED")
    assert f"  {attempt['problem']['summary']}" in out


async def test_a_followed_campaign_is_json_lines(system: System) -> None:
    """The first object says what was started, the last one how it ended."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", PERSON)
    words = ("send", campaign, "--recipients", recipients, "--watch", "--json")
    code, out, err = await system.closeout(*words)
    assert (code, err) == (0, "")
    first, *_, last = (json.loads(line) for line in out.splitlines())
    assert (first["event"], first["total"], first["message"]) == ("started", 1, "started")
    assert last["state"] == "COMPLETED"


async def test_standard_input_is_a_recipients_file(system: System) -> None:
    """What a program prints can be sent to."""
    campaign = system.write("c.toml", CAMPAIGN)
    words = ("send", campaign, "--recipients", "-", "--format", "jsonl", "--watch")
    given = b'{"email": "a@example.com", "name": "Z"}\n'
    code, out, err = await system.closeout(*words, given=given)
    assert (code, err) == (0, "")
    assert "standard input: 1 row, 1 accepted, 0 duplicate, 0 invalid" in out
    assert system.recipients() == ["a@example.com"]


async def test_a_document_is_refused_by_email_and_shown_by_the_console(system: System) -> None:
    """The kind of content must be one of the channel; a preview shows it as it is posted."""
    document = 'name = "Push"\nchannel = "smtp"\n[content]\njson = "{{ name | json }}"\n'
    recipients = system.write("r.csv", 'email,name\na@example.com,"Zoë ""Z"""\n')
    words = ("--recipients", recipients, "--preview")
    code, out, err = await system.closeout("send", system.write("c.toml", document), *words)
    assert (code, out) == (2, "")
    assert "c.toml [content]: channel smtp takes email; not json" in err
    campaign = system.write("c.toml", document.replace("smtp", "console"))
    code, out, err = await system.closeout("send", campaign, *words)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == '"Zoë \\"Z\\""'


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("name,phone\nx,1\n", "no column 'address' or 'email'; its columns are name, phone"),
        ("email\n", "no recipients below its header"),
        ("email,name\na@example.com,Doe, Jane\n", "line 2 has 3 cells"),
    ],
)
async def test_a_broken_list_creates_no_campaign(system: System, csv: str, message: str) -> None:
    """The list is read to its end before anything else happens."""
    campaign = system.write("c.toml", CAMPAIGN)
    recipients = system.write("r.csv", csv)
    code, out, err = await system.closeout("send", campaign, "--recipients", recipients)
    assert (code, out) == (2, "")
    assert message in err
    _, out, _ = await system.closeout("list")
    assert out == ""


async def test_a_channel_that_is_not_there_is_named(system: System) -> None:
    """The message lists the channels there are."""
    campaign = system.write("c.toml", CAMPAIGN.replace("[content]", 'channel = "fax"\n[content]'))
    recipients = system.write("r.csv", PERSON)
    code, _, err = await system.closeout("send", campaign, "--recipients", recipients)
    assert code == 2
    assert "there is no channel 'fax'; installed: console, null, smtp, webhook" in err
