"""The SMTP server of the tests that falls silent, refuses or hangs up at any step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from providers.smtp_provider import Ledger, SteppedProvider, write_steps

if TYPE_CHECKING:
    from pathlib import Path

STEPS = [
    ("greeting", ""),
    ("ehlo", "EHLO client.example"),
    ("mail", "MAIL FROM:<a@x.example>"),
    ("rcpt", "RCPT TO:<b@x.example>"),
    ("data", "DATA"),
    ("message", "Message-ID: <1@x.example>\r\n\r\nHi\r\n."),
]


async def talk(provider: SteppedProvider) -> list[str]:
    """Send one message and return the last line of each answer; "" where there is none."""
    reader, writer = await asyncio.open_connection(provider.host, provider.port)
    answers = []
    try:
        for step, line in STEPS:
            if line:
                writer.write(line.encode() + b"\r\n")
            await provider.wait_for(step)
            answer = ""
            while True:
                # Silence can't be awaited; who hangs answers nothing at all.
                if provider.steps.get(step) == "hang":
                    return [*answers, ""]
                answer = (await reader.readline()).decode().strip()
                if answer[3:4] != "-":
                    break
            answers.append(answer)
            if answer[:1] not in ("2", "3"):
                break
    finally:
        writer.close()
    return answers


@pytest.mark.parametrize("step", [step for step, _ in STEPS])
@pytest.mark.parametrize("said", ["hang", "cut", "450 4.3.2 not now", "421 4.3.2 not now"])
async def test_a_rule_decides_a_step(step: str, said: str) -> None:
    """Everything before the step is usual, and the ledger stays empty."""
    async with SteppedProvider({step: said}) as provider:
        answers = await talk(provider)
        assert not provider.ledger.accepted
        assert len(answers) == 1 + [name for name, _ in STEPS].index(step)
        assert answers[-1] == ("" if said in ("hang", "cut") else said)
        provider.steps.clear()
        provider.seen.clear()
        assert (await talk(provider))[-1] == "250 2.0.0 Ok: queued as 00000001"
        assert [entry.recipient for entry in provider.ledger.accepted] == ["b@x.example"]


async def test_greylisting_defers_each_recipient_once() -> None:
    """The second try passes."""
    async with SteppedProvider({"rcpt": "greylist"}) as provider:
        assert (await talk(provider))[-1].startswith("451")
        provider.seen.clear()
        assert (await talk(provider))[-1].startswith("250")


async def test_rules_and_steps_in_files(tmp_path: Path) -> None:
    """A test rules a provider in another process by files."""
    rules, seen = tmp_path / "steps.json", tmp_path / "seen"
    ledger = Ledger(tmp_path / "ledger")
    async with SteppedProvider(steps_file=rules, seen_file=seen, ledger=ledger) as provider:
        assert (await talk(provider))[-1].startswith("250")
        write_steps(rules, mail="450 4.3.2 not now")
        provider.seen.clear()
        assert (await talk(provider))[-1] == "450 4.3.2 not now"
    assert seen.read_text().splitlines()[:3] == [
        "greeting",
        "ehlo client.example",
        "mail a@x.example",
    ]


async def test_tls_at_a_plain_port_is_no_command() -> None:
    """A client that begins with TLS gets an answer in the clear, and no error is logged."""
    async with SteppedProvider() as provider:
        reader, writer = await asyncio.open_connection(provider.host, provider.port)
        writer.write(b"\x16\x03\x01\x02\xfc\xff\n")
        lines = [await reader.readline(), await reader.readline()]
        writer.close()
        assert [line[:3] for line in lines] == [b"220", b"502"]
