"""Writes campaigns into a database as the services would have left them, at a moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from integration.compiled import STATEMENTS
from service_runtime import database_time
from service_runtime.database import Store
from service_runtime.database_time import database_now
from status_service import schema
from status_service.migrations import MIGRATIONS

#: The moment of the screenshots.
NOW = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)
OUTCOMES = {"unknown": 1, "skipped": 2, "failed": 3, "sent": 4}
_FILL = """
INSERT INTO results (campaign, sequence, outcome, attempt, code, detail, provider_message_id,
                     finish_time, record_time)
WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)
SELECT :campaign, i, :outcome, 1, :code, :detail, '', :moment, :moment FROM n
"""


@contextmanager
def fixed_clock(moment: datetime) -> Iterator[None]:
    """Let the databases that are opened in the block stand at a moment."""
    microseconds = round(moment.timestamp()) * 1_000_000
    compiles(database_now, "sqlite")(lambda *_args, **_named: str(microseconds))
    STATEMENTS.clear()
    try:
        yield
    finally:
        compiles(database_now, "sqlite")(database_time._sqlite_now)
        STATEMENTS.clear()


class World:
    """Writes campaigns into a database that no service has open.

    Args:
        url: the database.
        now: what "42 minutes ago" is counted from.
        organisation: whose they are, where a campaign says nothing else.
        before: how many the database may have already.
    """

    def __init__(
        self, url: str, now: datetime, organisation: str = "default", *, before: int = 0
    ) -> None:
        self.now = now
        self._organisation = organisation
        self._store = Store(url, MIGRATIONS, holder="test")
        self._campaign = before

    def close(self) -> None:
        """Leave the database to a service."""
        self._store.close()

    def ago(self, **length: float) -> datetime:
        """Return a time before now."""
        return self.now - timedelta(**length)

    def write(self, statement: Any, *values: Any) -> None:
        """Run one statement."""
        with self._store._engines.writer.begin() as connection:
            connection.execute(statement, *values)

    def add(
        self,
        campaign_id: str,
        state: str,
        *,
        parts: Iterable[tuple[str, int, int, str, str]] = (),
        trail: Iterable[tuple[Any, ...]] = (),
        labels: dict[str, str] | None = None,
        problems: Iterable[dict[str, Any]] = (),
        organisation: str = "",
        **columns: Any,
    ) -> int:
        """Add a campaign; return its number.

        Args:
            campaign_id: its id.
            state: its state.
            parts: its results: outcome, first, last, code, detail.
            trail: from, to, cause, actor, on behalf of, reason, when, forced.
            labels: its labels.
            problems: what holds it up.
            organisation: whose it is.
            columns: others of its row.
        """
        organisation = organisation or self._organisation
        self._campaign += 1
        number, parts = self._campaign, list(parts)
        counters = dict.fromkeys(OUTCOMES, 0)
        for outcome, first, last, _, _ in parts:
            counters[outcome] += last - first + 1
        row = {
            "campaign": number,
            "organisation": organisation,
            "campaign_id": campaign_id,
            "state": state,
            "channel": "smtp",
            "labels": json.dumps(labels or {}),
            "problems": json.dumps(list(problems)),
            "revision": 1 + sum(counters.values()),
            "create_time": self.ago(days=7),
            **counters,
            **columns,
        }
        self.write(sa.insert(schema.campaigns), row)
        for label, value in (labels or {}).items():
            self.write(
                sa.insert(schema.campaign_labels),
                {"organisation": organisation, "label": label, "value": value, "campaign": number},
            )
        moment = row.get("progress_time") or row["create_time"]
        for outcome, first, last, code, detail in parts:
            values = {
                "campaign": number,
                "first": first,
                "last": last,
                "outcome": OUTCOMES[outcome],
                "code": code,
                "detail": detail,
                "moment": round(moment.timestamp() * 1_000_000),
            }
            self.write(sa.text(_FILL), values)
        self._groups(number, parts)
        for before, after, cause, actor, on_behalf_of, reason, when, forced in trail:
            self.write(
                sa.insert(schema.transitions),
                {
                    "campaign": number,
                    "from_state": before,
                    "to_state": after,
                    "cause": cause,
                    "actor": actor,
                    "on_behalf_of": on_behalf_of,
                    "reason": reason,
                    "create_time": when,
                    "forced": forced,
                },
            )
        return number

    def _groups(self, number: int, parts: Iterable[tuple[str, int, int, str, str]]) -> None:
        found: dict[tuple[str, str], list[Any]] = {}
        for outcome, first, last, code, detail in parts:
            if outcome != "sent":
                group = found.setdefault((outcome, code), [0, detail, []])
                group[0] += last - first + 1
                group[2] = [*group[2], *range(first, last + 1)][:3]
        for (outcome, code), (count, detail, examples) in found.items():
            self.write(
                sa.insert(schema.failure_groups),
                {
                    "campaign": number,
                    "outcome": OUTCOMES[outcome],
                    "is_rest": 0,
                    "code": code,
                    "number": count,
                    "detail": detail,
                    "examples": json.dumps(examples),
                },
            )

    def sample(self, number: int, start: datetime, a_minute: Iterable[tuple[int, int]]) -> None:
        """Note what a campaign had each minute from ``start`` on: so many sent and failed."""
        sent = failed = 0
        for minute, (more, worse) in enumerate(a_minute, 1):
            sent, failed = sent + more, failed + worse
            self.write(
                sa.insert(schema.samples),
                {
                    "campaign": number,
                    "sample_time": start + timedelta(minutes=minute),
                    "sent": sent,
                    "failed": failed,
                    "skipped": 0,
                    "unknown": 0,
                    "number": minute,
                    "step": 60,
                },
            )


def problem(world: World, **changed: Any) -> dict[str, Any]:
    """Return what a mail server that refuses the login holds up."""
    return {
        "kind": 1,
        "summary": "the mail server refuses the sender's login",
        "detail": "535 5.7.8 authentication failed",
        "setting": "CLOSEOUT_SMTP_USERNAME, CLOSEOUT_SMTP_PASSWORD",
        "provider": "smtp",
        "since_time": round(world.ago(minutes=42).timestamp() * 1_000_000),
        "needs_attention": True,
        "deadline_time": round((world.now + timedelta(days=3)).timestamp() * 1_000_000),
    } | changed
