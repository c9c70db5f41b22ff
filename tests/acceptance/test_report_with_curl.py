"""examples/report_with_curl.sh: a campaign by curl alone, whatever happens to the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service, wait_until
from providers.curl_stand_in import path_with_curl
from providers.held_port import HeldPort

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "report_with_curl.sh"
STAND_IN = Path(__file__).resolve().parents[1] / "providers" / "curl_stand_in.py"
RESULTS_A_CALL = 500


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Service]:
    """A status service that runs, on ports that stay its own."""
    with (
        HeldPort() as grpc_port,
        HeldPort() as http_port,
        ForkedService(
            "status_service",
            "status service listening on ",
            tmp_path,
            {
                "CLOSEOUT_STATUS_LISTEN": grpc_port.address,
                "CLOSEOUT_STATUS_HTTP_LISTEN": http_port.address,
            },
        ) as service,
    ):
        service.start()
        yield service


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment with a curl: where the machine has none, our stand-in."""
    return os.environ | {"PATH": path_with_curl(tmp_path)}


def got(status: Service, path: str) -> Any:
    """Read JSON from the service."""
    with urllib.request.urlopen(f"http://{status.http_address}{path}", timeout=30) as answer:
        return json.load(answer)


def counts(campaign: dict[str, Any]) -> list[str]:
    """Return how a campaign ended."""
    names = ("state", "total", "sent", "failed", "skipped", "unknown")
    return [campaign[name] for name in names]


def run(status: Service, environment: dict[str, str], *arguments: str) -> Any:
    """Run the script to its end."""
    return subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", str(SCRIPT), f"http://{status.http_address}", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_the_script_completes_its_campaign(
    status: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    """Run as its first lines say, it reports every message, and prints the campaign."""
    headers = tmp_path / "headers"
    headers.write_text("closeout-on-behalf-of: ops@host\n")
    done = run(status, environment, "2001", str(headers))
    assert (done.returncode, done.stderr) == (0, "")
    campaign = json.loads(done.stdout)["campaign"]
    assert counts(campaign) == ["COMPLETED", "2001", "1981", "20", "0", "0"]
    trail = got(status, f"/v1/campaigns/{campaign['campaignId']}/transitions")["transitions"]
    assert trail[0]["onBehalfOf"] == "ops@host"


def test_the_script_stops_at_a_refusal(status: Service, environment: dict[str, str]) -> None:
    """What the service refuses is not repeated: the script ends with the reason."""
    done = run(status, environment, "many")
    assert done.returncode == 22
    assert "INVALID_REQUEST" in done.stdout + done.stderr or "400" in done.stderr


def test_the_stand_in_does_what_the_script_needs(status: Service, tmp_path: Path) -> None:
    """On a machine without curl, the tests of the script and of the documents still hold."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "curl"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(stand_in.parent), os.environ["PATH"]])
    done = run(status, os.environ | {"PATH": path}, "600")
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(json.loads(done.stdout)["campaign"])[:2] == ["COMPLETED", "600"]


def test_s2_s7_the_script_is_exact_across_kills(
    status: Service, environment: dict[str, str], tmp_path: Path, kills: int
) -> None:
    """The service is killed after each bit of progress; every message counts once.

    `make soak` kills it 50 times.
    """
    # Several calls may be answered between two kills.
    total = 6 * kills * RESULTS_A_CALL
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        script = subprocess.Popen(  # noqa: S603 - our own script
            ["/bin/sh", str(SCRIPT), f"http://{status.http_address}", str(total)],
            env=environment,
            stdout=stdout,
            stderr=stderr,
        )
        try:
            wait_until(lambda: got(status, "/v1/campaigns")["campaigns"], what="the campaign")
            (campaign,) = got(status, "/v1/campaigns")["campaigns"]
            path = f"/v1/campaigns/{campaign['campaignId']}"
            seen = [-1]

            def progressed() -> bool:
                seen.append(int(got(status, path)["campaign"]["processed"]))
                return seen[-1] > seen[-2]

            for _ in range(kills):
                wait_until(progressed, what="progress")
                status.kill()
                status.start()
            assert script.wait(2 * PATIENCE_SECONDS) == 0
        finally:
            script.kill()
            script.wait()
    assert seen[-1] < total, "it was killed while it was reported to"
    assert counts(json.loads(output.read_text())["campaign"]) == [
        *("COMPLETED", str(total), str(total - total // 100), str(total // 100), "0", "0")
    ]
    trail = got(status, f"{path}/transitions")["transitions"]
    assert [step["toState"] for step in trail] == ["DRAFT", "SENDING", "COMPLETED"]
