"""docs/verdicts.md shows the tables of verdicts, row by row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sender_service.channels.contract import Answer
from sender_service.channels.email.verdict_row import Row
from sender_service.channels.email.verdict_table import TABLE as SMTP_TABLE
from sender_service.channels.webhook.verdict_table import TABLE as WEBHOOK_TABLE
from sender_service.channels.webhook.verdict_table import Row as WebhookRow
from sender_service.domain import ProblemKind

if TYPE_CHECKING:
    from sender_service.channels.replies import Verdict

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "verdicts.md"
MEANINGS = {
    Answer.ACCEPTED: "SENT",
    Answer.REFUSED: "the message is FAILED",
    Answer.DEFERRED: "the message is tried again later",
    Answer.LOST: "the answer is lost",
}
NAMES = {"host": "HOST", "port": "PORT", "username": "USER"}


def meaning(verdict: Verdict) -> str:
    """Return what a verdict means, for a cell."""
    if verdict.fault is None:
        return MEANINGS[verdict.answer]
    fault = verdict.fault
    holds = {
        ProblemKind.PROVIDER_DEFERS: "waits",
        ProblemKind.PROVIDER_REFUSES: "needs you",
        ProblemKind.PROVIDER_UNREACHABLE: "waits",
    }[fault.kind]
    said = f"**{holds}**: {fault.summary.format_map(NAMES)}"
    return f"{said}: `{fault.setting}`" if fault.setting else said


def smtp_lines() -> list[str]:
    """Return the table of a mail server's answers in Markdown."""
    return [
        "| answered | status | for example | it means | why |",
        "|---|---|---|---|---|",
        *(
            f"| {steps(row)} | {statuses(row.status)} | {row.example} |"
            f" {meaning(row.verdict)} | {row.why} |"
            for row in SMTP_TABLE
        ),
    ]


def webhook_lines() -> list[str]:
    """Return the table of a webhook's statuses in Markdown."""
    return [
        "| status | it means | alone | why |",
        "|---|---|---|---|",
        *(
            f"| {webhook_statuses(row)} | {meaning(row.verdict)} |"
            f" {MEANINGS[row.verdict.alone] if row.verdict.alone else ''} | {row.why} |"
            for row in WEBHOOK_TABLE
        ),
    ]


def webhook_statuses(row: WebhookRow) -> str:
    """Return the statuses of a row, for a cell."""
    written = ", ".join(statuses(pattern) for pattern in row.statuses.split("|"))
    return f"{written} with `Retry-After`" if row.asks_to_wait else written


def steps(row: Row) -> str:
    """Return the steps of a row, for a cell."""
    first, last = row.steps[0].value, row.steps[-1].value
    return first if first == last else f"{first} to {last}"


def statuses(pattern: str) -> str:
    """Return a pattern of statuses, for a cell: ``53[45]`` is 534, 535."""
    found = re.fullmatch(r"(\d*)\[(\d+)\](.*)", pattern)
    written = [f"{found[1]}{digit}{found[3]}" for digit in found[2]] if found else [pattern]
    return ", ".join(written).replace(".", "x")


def block(lines: list[str]) -> str:
    """Return a table as it stands in the document."""
    return "\n".join(lines).replace("<", "&lt;") + "\n"


def test_the_statuses_of_a_webhook_are_in_the_document() -> None:
    """Row by row, in the order in which they are looked up."""
    expected = block(webhook_lines())
    assert expected in DOCUMENT.read_text(), f"put this table into {DOCUMENT.name}:\n{expected}"


def test_the_answers_of_a_mail_server_are_in_the_document() -> None:
    """Row by row, in the order in which they are looked up."""
    expected = block(smtp_lines())
    assert expected in DOCUMENT.read_text(), f"put this table into {DOCUMENT.name}:\n{expected}"
