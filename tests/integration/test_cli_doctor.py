"""``closeout doctor``: what it finds, and what it says to correct."""
# The methods of a servicer are named, described and typed by the contract.
# ruff: noqa: ANN001, ANN201, ARG002, D102, N802

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from closeout import from_environment
from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2_grpc import (
    SenderServiceServicer,
    add_SenderServiceServicer_to_server,
)
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2_grpc import (
    StatusServiceServicer,
    add_StatusServiceServicer_to_server,
)
from closeout_cli import health_checks
from integration.cli_support import clean_environment, finished
from integration.status_support import serving as status_serving

VERSION = importlib.metadata.version("closeout-server")


class Service(StatusServiceServicer, SenderServiceServicer, health_pb2_grpc.HealthServicer):
    """Both services, as far as the doctor asks them.

    Attributes:
        checks: what the sender found.
        version: what its health check says.
        ahead: how far its clock is ahead of ours.
        serving: what its health check says.
        asked: the channels that were asked for.
        refusal: what it says to every key; empty: it takes calls.
    """

    def __init__(self) -> None:
        self.checks: list[sender_pb2.CheckSenderResponse.Check] = []
        self.version = VERSION
        self.ahead = timedelta()
        self.serving = True
        self.asked: list[str] = []
        self.address = ""
        self.refusal = ""

    def _now(self) -> Timestamp:
        now = Timestamp()
        now.FromDatetime(datetime.now(UTC) + self.ahead)
        return now

    async def Check(self, request, context):
        await context.send_initial_metadata((("closeout-version", self.version),))
        status = health_pb2.HealthCheckResponse.ServingStatus
        return health_pb2.HealthCheckResponse(
            status=status.SERVING if self.serving else status.NOT_SERVING
        )

    async def ListCampaigns(self, request, context):
        if self.refusal:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, self.refusal)
        return status_pb2.ListCampaignsResponse(read_time=self._now())

    async def CheckSender(self, request, context):
        self.asked.append(request.channel)
        if self.refusal:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, self.refusal)
        if request.channel == "pigeon":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there is no channel pigeon")
        return sender_pb2.CheckSenderResponse(
            checks=self.checks, read_time=self._now(), version=self.version
        )


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Service]:
    """Serve both services on one free port."""
    service = Service()
    server = grpc.aio.server()
    add_StatusServiceServicer_to_server(service, server)
    add_SenderServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)


async def doctor(folder: Path, *words: str, at: str, **settings: str) -> tuple[int, list[str], str]:
    """Run the command; return its exit code, lines and errors."""
    code, out, err = await finished(
        *("doctor", "--status-address", at, "--sender-address", at, *words),
        folder=folder,
        environment=clean_environment() | settings,
    )
    return code, out.splitlines(), err


async def test_all_is_well(tmp_path: Path) -> None:
    """A line for each check, and exit code 0."""
    async with served() as service:
        service.checks = [
            sender_pb2.CheckSenderResponse.Check(name="database", ok=True, summary="takes writes"),
            sender_pb2.CheckSenderResponse.Check(
                name="channel smtp", ok=True, summary="smtp.example.com:587 lets closeout log in"
            ),
        ]
        code, lines, err = await doctor(tmp_path, at=service.address)
    assert (code, err) == (0, "")
    assert lines == [
        "ok      settings: those of both services are right",
        f"ok      status service: serves at {service.address}, version {VERSION}",
        f"ok      sender service: serves at {service.address}, version {VERSION}",
        "ok      sender database: takes writes",
        "ok      channel smtp: smtp.example.com:587 lets closeout log in",
        "ok      clock: agrees with that of the status service and the sender service",
    ]


async def test_what_needs_attention_names_its_remedy_and_its_setting(tmp_path: Path) -> None:
    """Exit code 3; as JSON it is one object with the same checks."""
    async with served() as service:
        service.ahead = timedelta(minutes=-2)
        service.version = "0.0.9"
        service.checks = [
            sender_pb2.CheckSenderResponse.Check(
                name="channel smtp",
                ok=False,
                problem=status_pb2.Problem(
                    summary="the mail server refuses the sender's login",
                    detail="535 5.7.8 authentication failed",
                    setting="[smtp] password",
                    needs_attention=True,
                ),
            )
        ]
        words = ("--channel", "smtp")
        code, lines, _ = await doctor(tmp_path, *words, at=service.address, CLOSEOUT_SMPT_HOST="x")
        json_code, (document,), _ = await doctor(tmp_path, *words, "--json", at=service.address)
        assert service.asked == ["smtp", "smtp"]
    assert (code, json_code) == (3, 3)
    problems = [line.removeprefix("problem ") for line in lines if line.startswith("problem ")]
    assert problems[0] == (
        "settings: unknown setting CLOSEOUT_SMPT_HOST; did you mean CLOSEOUT_SMTP_HOST?;"
        " correct it and restart the services"
    )
    assert problems[1].startswith(f"versions: this command has {VERSION}, the status service has 0")
    assert problems[2] == (
        "channel smtp: the mail server refuses the sender's login (535 5.7.8 authentication"
        " failed); correct [smtp] password and restart the sender"
    )
    assert problems[3].startswith(
        "clock: that of the status service is 120 s behind this machine's"
    )
    assert len(problems) == 5
    answer = json.loads(document)
    assert answer["ok"] is False
    (channel,) = [check for check in answer["checks"] if check["name"] == "channel smtp"]
    assert (channel["ok"], channel["setting"]) == (False, "[smtp] password")


async def test_without_services_the_settings_are_checked_anyway(tmp_path: Path) -> None:
    """It says how to start each service, and that the providers were not checked."""
    code, lines, err = await doctor(tmp_path, at="127.0.0.1:1")
    assert (code, err) == (3, "")
    assert lines[0] == "ok      settings: those of both services are right"
    for number, name in ((1, "status"), (2, "sender")):
        assert lines[number].startswith(
            f"problem {name} service: does not answer at 127.0.0.1:1 (UNAVAILABLE);"
            f" start it with `closeout up` or `closeout serve {name}`"
        )
    assert lines[3].startswith("problem providers: not checked, as the sender service does not")


async def test_a_channel_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """The sender's own words are shown."""
    async with served() as service:
        code, lines, _ = await doctor(tmp_path, "--channel", "pigeon", at=service.address)
    assert code == 3
    assert "problem channel pigeon: there is no channel pigeon; correct it, and repeat" in lines


async def test_a_service_without_its_database_is_distinguished(tmp_path: Path) -> None:
    """It answers, and its log says why it does not serve."""
    async with served() as service:
        service.serving = False
        code, lines, _ = await doctor(tmp_path, at=service.address)
    assert code == 3
    assert lines[1].startswith(
        f"problem status service: answers at {service.address}, version {VERSION}, and can't use"
        " its database; its log has the reason"
    )


async def test_a_service_says_its_version_with_its_health(tmp_path: Path) -> None:
    """The version is that of the installed distribution."""
    async with status_serving(tmp_path) as status:
        found = await health_checks.service("status", status.address, from_environment({}))
    assert found.version == VERSION


@pytest.mark.parametrize(("free", "ok"), [(2_000_000_000, True), (100_000_000, False)])
def test_the_disk_of_the_databases_needs_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, *, ok: bool
) -> None:
    """Less than half a gigabyte is a problem; a folder that is not there is none."""

    def usage(_: Path) -> Any:
        return type("Usage", (), {"free": free})

    monkeypatch.setattr(health_checks.shutil, "disk_usage", usage)
    (check,) = health_checks.disk(tmp_path)
    assert (check.ok, bool(check.remedy)) == (ok, not ok)
    assert health_checks.disk(tmp_path / "missing") == []


@pytest.mark.parametrize("key", ["", "closeout_abcdefghijkl_notAKeyOfAnybody"])
async def test_a_refused_key_is_named(tmp_path: Path, key: str) -> None:
    """The services answer, and take no call: the line says which variable to set."""
    async with served() as service:
        service.refusal = "the key is not known"
        code, out, err = await finished(
            "doctor",
            folder=tmp_path,
            environment={
                **clean_environment(),
                "CLOSEOUT_SENDER_STATUS_ADDRESS": service.address,
                "CLOSEOUT_SENDER_LISTEN": service.address,
                **({"CLOSEOUT_API_KEY": key} if key else {}),
            },
        )
    assert code == 3
    assert not key or key not in out + err
    for name in ("status", "sender"):
        assert f"problem key: the {name} service refuses it: the key is not known; set " in out
    assert "CLOSEOUT_API_KEY or CLOSEOUT_API_KEY_FILE" in out
