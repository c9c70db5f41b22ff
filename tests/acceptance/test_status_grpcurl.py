"""The status service through grpcurl, as an operator calls it without Closeout's code."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pysqlite3 import dbapi2

from acceptance.deployment import CAMPAIGN_ID, deployed
from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service
from providers.smtp_provider import scripted

_GRPCURL = Path(sys.executable).with_name("grpcurl")
_SERVICE = "closeout.status.v1.StatusService"


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A status service as a process."""
    folder = tmp_path_factory.mktemp("status")
    with ForkedService(
        "status_service",
        "status service listening on ",
        folder,
        {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"},
    ) as service:
        service.start()
        yield service
        assert service.terminate() == 0


def grpcurl(status: Service, *arguments: str, data: Any = None) -> tuple[int, str, str]:
    """Run grpcurl; return its exit code, output and errors."""
    options = [] if data is None else ["-d", json.dumps(data)]
    done = subprocess.run(  # noqa: S603 - a tool of the development environment
        [_GRPCURL, "-plaintext", "-emit-defaults", *options, status.address, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def called(status: Service, method: str, data: Any) -> Any:
    """Make a successful call; return its answer."""
    code, output, errors = grpcurl(status, f"{_SERVICE}/{method}", data=data)
    assert code == 0, errors
    return json.loads(output)


def sent_campaign(status: Service, name: str, total: int, results: int) -> None:
    """Create a campaign whose first ``results`` messages were sent."""
    called(status, "CreateCampaign", {"campaign_id": name, "display_name": name})
    called(status, "StartCampaign", {"campaign_id": name, "total": total})
    rows = [{"sequence": number, "outcome": "SENT"} for number in range(1, results + 1)]
    frame = {"frame": 1, "campaign_id": name, "results": rows, "reporter": "grpcurl"}
    answer = called(status, "ReportResults", frame)
    assert answer["acked_through"] == "1"


def test_grpcurl_lists_and_describes_service_method_and_message(status: Service) -> None:
    """Reflection lists the service and describes it, a method and a message of it."""
    code, output, errors = grpcurl(status, "list")
    assert code == 0, errors
    assert {_SERVICE, "grpc.health.v1.Health"} <= set(output.split())
    code, output, errors = grpcurl(status, "list", _SERVICE)
    assert code == 0, errors
    assert f"{_SERVICE}.MarkComplete" in output.split()
    for symbol, expected in {
        _SERVICE: "rpc MarkComplete ( .closeout.status.v1.MarkCompleteRequest )",
        f"{_SERVICE}.MarkComplete": "returns ( .closeout.status.v1.MarkCompleteResponse )",
        "closeout.status.v1.MarkCompleteRequest": "string campaign_id = 1;",
    }.items():
        code, output, errors = grpcurl(status, "describe", symbol)
        assert code == 0, errors
        assert expected in output
    code, output, errors = grpcurl(status, "describe")
    assert code == 0, errors
    assert _SERVICE in output


def test_grpcurl_reads_health(status: Service) -> None:
    """The health service answers for the server and for the status service by name."""
    for name in ("", _SERVICE):
        code, output, errors = grpcurl(
            status, "grpc.health.v1.Health/Check", data={"service": name}
        )
        assert code == 0, errors
        assert json.loads(output) == {"status": "SERVING"}


def test_mark_complete_completes_a_campaign_that_is_stuck(status: Service) -> None:
    """A campaign made stuck by hand in the database is completed, and only the first time."""
    sent_campaign(status, "stuck", 3, 3)
    connection = dbapi2.connect(status.folder / "closeout-status.db", timeout=PATIENCE_SECONDS)
    with connection:
        changed = connection.execute(
            "UPDATE campaigns SET state = 'SENDING', complete_time = NULL"
            " WHERE campaign_id = 'stuck'"
        )
        assert changed.rowcount == 1
    connection.close()
    answer = called(status, "MarkComplete", {"campaign_id": "stuck", "reason": "by hand"})
    assert answer["transitioned"] is True
    assert (answer["campaign"]["state"], answer["campaign"]["sent"]) == ("COMPLETED", "3")
    again = called(status, "MarkComplete", {"campaign_id": "stuck"})
    assert again == {"campaign": answer["campaign"], "transitioned": False}


def test_mark_complete_of_a_completed_campaign_is_ok(status: Service) -> None:
    """A COMPLETED campaign: OK, transitioned is false."""
    sent_campaign(status, "done", 2, 2)
    answer = called(status, "MarkComplete", {"campaign_id": "done"})
    assert (answer["transitioned"], answer["campaign"]["state"]) == (False, "COMPLETED")


def test_mark_complete_that_is_not_ready_names_what_is_missing(status: Service) -> None:
    """FAILED_PRECONDITION with the counts and the missing ranges in text and details."""
    sent_campaign(status, "half", 10, 4)
    code, _, errors = grpcurl(status, f"{_SERVICE}/MarkComplete", data={"campaign_id": "half"})
    assert code != 0
    assert "Code: FailedPrecondition" in errors
    assert "total=10 sent=4 failed=0 skipped=0 unknown=0 pending=6" in errors
    assert "no result for 5-10" in errors
    assert "CAMPAIGN_NOT_FULLY_PROCESSED" in errors


def test_mark_complete_of_nothing_is_not_found(status: Service) -> None:
    """NOT_FOUND with its reason."""
    code, _, errors = grpcurl(status, f"{_SERVICE}/MarkComplete", data={"campaign_id": "nothing"})
    assert code != 0
    assert "Code: NotFound" in errors
    assert "CAMPAIGN_NOT_FOUND" in errors


async def test_explain_names_the_cause_and_the_setting_of_a_refused_login(tmp_path: Path) -> None:
    """The status service says what the sender met, at once, without being asked for it there.

    With the right password the campaign goes on by itself, and nothing is left of it.
    """
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    provider = scripted(tls=tls, login=("ann", "right"))
    settings = {
        "CLOSEOUT_SMTP_SECURITY": "starttls",
        "CLOSEOUT_SMTP_CA_FILE": str(tmp_path / "authority.pem"),
        "CLOSEOUT_SMTP_USERNAME": "ann",
        "CLOSEOUT_SMTP_PASSWORD": "wrong",
    }

    async with deployed(tmp_path, provider, **settings) as deployment:

        async def explained() -> Any:
            return await asyncio.to_thread(
                called, deployment.status, "ExplainCampaign", {"campaign_id": CAMPAIGN_ID}
            )

        await deployment.send([f"person-{number}@shop.example" for number in range(20)])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := await explained())["diagnosis"]["campaign"]["problems"]:  # noqa: ASYNC110 - no event signals it
                await asyncio.sleep(0.05)
        problem = found["diagnosis"]["campaign"]["problems"][0]
        assert problem["kind"] == "PROVIDER_REFUSES"
        assert problem["setting"] == "[smtp] username, password"
        assert "535" in problem["detail"]
        assert problem["since_time"]
        assert "wrong" not in json.dumps(problem)
        first_line, second_line = found["explanation"].split("\n")
        assert first_line.lower().startswith(problem["summary"].lower())
        assert second_line.startswith("20 of 20 messages have no result. None is lost")
        assert problem["setting"] in found["diagnosis"]["action"]
        assert found["diagnosis"]["diagnosis"] == "IN_PROGRESS"
        assert found["diagnosis"]["needs_attention"] is problem["needs_attention"]
        await asyncio.to_thread(deployment.sender.terminate)
        deployment.sender.environment["CLOSEOUT_SMTP_PASSWORD"] = "right"  # noqa: S105 - of the test's provider
        await deployment.start(deployment.sender)
        await deployment.completed()
        ended = await explained()
        assert ended["diagnosis"]["campaign"]["problems"] == []
        assert ended["explanation"].startswith("Completed ")
