"""Both services as processes with keys, and campaigns that are stuck in each of the known ways."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pysqlite3 import dbapi2

from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service
from closeout import SenderClient, StatusClient
from closeout.sender.v1.sender_pb2 import EmailContent, Recipient
from closeout.status.v1.status_pb2 import Result
from closeout_cli.__main__ import main
from integration.databases import SqliteDatabase
from integration.key_support import make_key
from integration.keyed_pair import SERVICE_SCOPES
from integration.page_reader import Document
from providers.curl_stand_in import path_with_curl
from providers.held_port import HeldPort
from service_runtime.caller import Scope

#: On whose behalf grpcurl and curl call.
PERSON = "ann@desk"
HOUR = 3_600 * 1_000_000
SENT, FAILED = Result.SENT, Result.FAILED
#: The ways in which a campaign is stuck, and what is found in each.
WAYS = {
    "full": "FULLY_PROCESSED",
    "drift": "COUNTER_DRIFT",
    # Its counters say that every message was sent, and one has no result.
    "hole": "COUNTER_DRIFT",
    "stalled": "STALLED",
    "never": "NEVER_STARTED",
    "paused": "PAUSED",
    "going": "IN_PROGRESS",
}
#: What a repair may complete; and what it must not touch at all.
REPAIRED = ("full", "drift")
LEFT_ALONE = ("stalled", "never", "paused", "going")
MENDING_CALLS = ("RepairCampaigns", "MarkComplete")
_SPAN = re.compile(r"\b(now|less than 1 s ago|\d+ (?:s|min|h|d)(?: \d+ min)? ago)\b")


@dataclass(frozen=True)
class Said:
    """What a program printed, and its exit code."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        assert self.output, self
        return json.loads(self.output)

    @property
    def lines(self) -> list[Any]:
        """Its output as one object of JSON a line."""
        return [json.loads(line) for line in self.output.splitlines()]


class Story:
    """The services, and people with a key at their terminals.

    Attributes:
        key: the key ``ops``, with every scope but ``service``.
        reader: the key ``reader``, which may only read.
        other: a key of the organisation ``beta``.
        mail: where the sender looks for its mail server, which does not run at first.
    """

    def __init__(self, folder: Path, status: Service, sender: Service, mail: HeldPort) -> None:
        self.folder = folder
        self.status = status
        self.sender = sender
        self.mail = mail
        self.database = SqliteDatabase(folder / "status.db")
        self.key = self.reader = self.other = ""
        self._path = os.pathsep.join([str(Path(sys.executable).parent), path_with_curl(folder)])

    # Programs

    def run(self, *command: str, key: str | None = None) -> Said:
        """Run a program with our key in its environment, another one, or none if it is empty."""
        given = self.key if key is None else key
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CLOSEOUT_")
        }
        environment |= {"PATH": self._path, "CLOSEOUT_API_KEY": given}
        done = subprocess.run(  # noqa: S603 - our own command, and tools of this environment
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert not given or given not in done.stdout + done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def closeout(self, *words: str, key: str | None = None) -> Said:
        """Run the command line, in this process since it takes a second to be imported."""
        given = self.key if key is None else key
        environment = {
            "CLOSEOUT_API_KEY": given,
            "CLOSEOUT_SENDER_STATUS_ADDRESS": self.status.address,
            "CLOSEOUT_SENDER_LISTEN": self.sender.address,
            "CLOSEOUT_STATUS_DATABASE_URL": self.database.url,
        }
        output, errors = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main(words)
        assert not given or given not in output.getvalue() + errors.getvalue()
        return Said(code, output.getvalue(), errors.getvalue())

    def first_key(self) -> None:
        """Make the first key on the machine of the database, and then those of others."""
        made = self.closeout("keys", "create", "--admin", "--name", "ops")
        assert made.code == 0, made
        self.key = made.output.strip()
        self.reader = make_key(self.database, name="reader", scopes=(Scope.READ,)).text
        self.other = make_key(self.database, name="other", organisation="beta").text
        key = make_key(self.database, name="sender", scopes=SERVICE_SCOPES)
        (self.folder / "sender.key").write_text(f"{key.text}\n")

    def grpcurl(
        self, method: str, data: Any, *, key: str | None = None, service: str = "StatusService"
    ) -> Said:
        """Make a call by grpcurl, as the documents show it."""
        given = self.key if key is None else key
        sign = ["-expand-headers", "-H", "authorization: Bearer ${CLOSEOUT_API_KEY}"]
        return self.run(
            "grpcurl",
            "-plaintext",
            *(sign if given else []),
            *("-H", f"closeout-on-behalf-of: {PERSON}"),
            *("-d", json.dumps(data)),
            self.status.address,
            f"closeout.status.v1.{service}/{method}",
            key=given,
        )

    def curl(self, path: str, data: Any = None, *, key: str | None = None) -> Said:
        """Make a call by curl, with the key in a file, as the documents show it."""
        given = self.key if key is None else key
        words = ["-sS", "--fail-with-body", "-H", f"closeout-on-behalf-of: {PERSON}"]
        if given:
            header = self.folder / "authorization"
            header.write_text(f"authorization: Bearer {given}\n")
            words += ["-H", f"@{header}"]
        if data is not None:
            words += ["--json", json.dumps(data)]
        return self.run("curl", *words, f"http://{self.status.http_address}/v1/{path}", key=given)

    @contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """Sign in to the pages with the key."""
        with httpx.Client(
            base_url=f"http://{self.status.http_address}", timeout=PATIENCE_SECONDS
        ) as http:
            form = Document(http.get("/sign-in").text).forms[0]
            answer = http.post(
                form.action,
                data=form.fields | {"key": self.key},
                headers={"origin": str(http.base_url).rstrip("/"), "sec-fetch-site": "same-origin"},
            )
            assert answer.status_code == 303, answer.text
            yield http

    # Campaigns

    def make(self, prefix: str, ways: Iterable[str] = tuple(WAYS), *, key: str = "") -> None:
        """Make a campaign that is stuck for each way, named ``PREFIX-WAY``."""
        with StatusClient(self.status.address, api_key=key or self.key) as client:
            for way in ways:
                _begin(client, f"{prefix}-{way}", way)
        with self.database.by_hand() as connection:
            for way in ways:
                for number in _numbers(connection, f"{prefix}-{way}"):
                    _break(connection, number, way)

    def send_to_nobody(self, campaign_id: str) -> None:
        """Start a campaign of two messages at the sender, whose mail server does not run."""
        with SenderClient(self.sender.address, api_key=self.key) as client:
            client.create_campaign(
                campaign_id=campaign_id,
                channel="smtp",
                body=EmailContent(subject="Hello", text="Hello.", **{"from": "a@example.com"}),
            )
            people = [Recipient(address=f"p{number}@example.com") for number in range(2)]
            client.upload_recipients(campaign_id=campaign_id, upload_id="u", batches=[people])
            client.start_campaign(campaign_id=campaign_id)

    # What is stored

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Return rows of the database."""
        with self.database.by_hand() as connection:
            connection.row_factory = dbapi2.Row
            return [dict(row) for row in connection.execute(statement, values).fetchall()]

    def stored(self, campaign_id: str) -> list[list[dict[str, Any]]]:
        """Return a campaign with its results and its audit trail, of whoever has it."""
        return [
            self.rows("SELECT * FROM campaigns WHERE campaign_id = ?", campaign_id),
            *(
                self.rows(
                    f"SELECT {table}.* FROM {table} JOIN campaigns USING (campaign)"  # noqa: S608
                    " WHERE campaign_id = ? ORDER BY 1, 2, 3",
                    campaign_id,
                )
                for table in ("results", "transitions")
            ),
        ]

    def counts(self, campaign_id: str) -> tuple[str, int, int, int]:
        """Return state, sent, failed and unknown of our campaign."""
        (row,) = self.rows(
            "SELECT state, sent, failed, unknown FROM campaigns"
            " WHERE campaign_id = ? AND organisation = 'default'",
            campaign_id,
        )
        return row["state"], row["sent"], row["failed"], row["unknown"]

    def last_change(self, campaign_id: str) -> tuple[str, str, str, str, str]:
        """Return state, cause, who, for whom and why of the last line of the audit trail."""
        listed = self.curl(f"campaigns/{campaign_id}/transitions").json["transitions"][-1]
        return (
            listed["toState"],
            listed["cause"],
            listed["actor"],
            listed["onBehalfOf"],
            listed["reason"],
        )

    def events(self, campaign_id: str) -> list[str]:
        """Return the kinds of a campaign's events, oldest first."""
        asked = {"campaign_id": campaign_id}
        listed = self.grpcurl("ListEvents", asked, service="EventService").json.get("events", [])
        return [event["kind"] for event in reversed(listed)]


def timeless(text: str) -> str:
    """Return a sentence without how long ago something was."""
    return _SPAN.sub("...", " ".join(text.split()))


def _begin(client: StatusClient, campaign_id: str, way: str) -> None:
    """Start a campaign and report some of its results."""
    total = 3 if WAYS[way] in {"FULLY_PROCESSED", "COUNTER_DRIFT"} else 8
    client.create_campaign(campaign_id=campaign_id)
    client.start_campaign(campaign_id=campaign_id, total=total)
    outcomes = {
        "full": [SENT, SENT, FAILED],
        "drift": [SENT, SENT, FAILED],
        "hole": [SENT, SENT],
        "never": [],
    }.get(way, [SENT, SENT, FAILED])
    if outcomes:
        rows = [Result(sequence=n, outcome=what) for n, what in enumerate(outcomes, start=1)]
        client.report(rows, campaign_id=campaign_id, reporter="mine")
    if way == "paused":
        client.pause_campaign(campaign_id=campaign_id)


def _numbers(connection: Any, campaign_id: str) -> list[int]:
    query = "SELECT campaign FROM campaigns WHERE campaign_id = ?"
    return [row[0] for row in connection.execute(query, (campaign_id,)).fetchall()]


def _break(connection: Any, number: int, way: str) -> None:
    """Leave a campaign as a crash in a second step, or a hand in the database, would."""
    if way in {"full", "drift"}:
        # As if the completion had never been: it has no line and no event.
        for table in ("events", "transitions"):
            connection.execute(
                f"DELETE FROM {table} WHERE transition IN (SELECT transition FROM transitions"  # noqa: S608
                " WHERE campaign = ? AND to_state = 'COMPLETED')",
                (number,),
            )
    changes: Mapping[str, str] = {
        "full": "state = 'SENDING', complete_time = NULL",
        "drift": "state = 'SENDING', complete_time = NULL, sent = 3, failed = 0",
        "hole": "sent = 3",
        "stalled": f"start_time = start_time - {2 * HOUR}, progress_time = progress_time - {HOUR}",
        "never": f"start_time = start_time - {HOUR}",
    }
    if change := changes.get(way):
        connection.execute(f"UPDATE campaigns SET {change} WHERE campaign = ?", (number,))  # noqa: S608


@contextmanager
def story(folder: Path) -> Iterator[Story]:
    """Run both services, with keys of both and of others."""
    with (
        HeldPort() as port,
        HeldPort() as mail,
        ForkedService(
            "status_service",
            "status service listening on ",
            folder / "status",
            {
                "CLOSEOUT_STATUS_LISTEN": port.address,
                "CLOSEOUT_STATUS_DATABASE_URL": f"sqlite:///{folder / 'status.db'}",
                # After the pass at the start none comes between our commands.
                "CLOSEOUT_STATUS_RECONCILE_INTERVAL_SECONDS": "3600",
            },
        ) as status,
        ForkedService(
            "sender_service",
            "sender service listening on ",
            folder / "sender",
            {
                "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0",
                "CLOSEOUT_SENDER_STATUS_ADDRESS": port.address,
                "CLOSEOUT_SENDER_STATUS_API_KEY_FILE": str(folder / "sender.key"),
                "CLOSEOUT_SMTP_HOST": "127.0.0.1",
                "CLOSEOUT_SMTP_PORT": str(mail.port),
            },
        ) as sender,
    ):
        stuck = Story(folder, status, sender, mail)
        stuck.first_key()
        status.start()
        sender.start()
        yield stuck
