"""The scripts in examples/ that report results, against the status service as a process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service, wait_until
from providers.held_port import HeldPort

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: How each script is run; the address follows.
COMMANDS = {
    "asyncio": [sys.executable, str(EXAMPLES / "report_results.py")],
    "blocking": [sys.executable, str(EXAMPLES / "report_results_sync.py")],
    "grpcurl": ["sh", str(EXAMPLES / "report_results.sh")],
}
#: What is left of the environment: the tools of this one, grpcurl among them.
ENVIRONMENT = os.environ | {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
}
#: Makes calls with the requests in some files, one after the other, each until it is answered.
REPEATING = """
set -eu
address=$1
shift
for request; do
    until grpcurl -plaintext -connect-timeout 2 -max-time 10 -d @ "$address" \\
        closeout.status.v1.StatusService/BatchReportResults <"$request"
    do sleep 0.1; done
done
"""
TOTAL, RESULTS_A_CALL = 2_000, 100


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Service]:
    """A status service that runs, on a port that stays its own."""
    with (
        HeldPort() as port,
        ForkedService(
            "status_service",
            "status service listening on ",
            tmp_path,
            {"CLOSEOUT_STATUS_LISTEN": port.address},
        ) as service,
    ):
        service.start()
        yield service


def outcome(script: str, output: str) -> str:
    """Return how the campaign ended, in the words of the Python scripts."""
    if script != "grpcurl":
        return output.split(maxsplit=1)[1].strip()
    campaign = json.loads(output)["campaign"]
    counts = [f"{name}={campaign[name]}" for name in ("sent", "failed", "skipped", "unknown")]
    return " ".join([campaign["state"], f"total={campaign['total']}", *counts])


@pytest.mark.parametrize("script", COMMANDS)
def test_a_script_completes_its_campaign(status: Service, script: str) -> None:
    """Run as its first lines say, it reports every message, and the campaign is COMPLETED."""
    done = subprocess.run(  # noqa: S603 - our own script
        [*COMMANDS[script], status.address],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert outcome(script, done.stdout) == (
        "COMPLETED total=2000 sent=1980 failed=20 skipped=0 unknown=0"
    )


@pytest.mark.parametrize("script", ["asyncio", "blocking"])
def test_a_script_without_a_service_says_so_in_one_line(status: Service, script: str) -> None:
    """Whoever forgot to start the service reads its address, and no traceback."""
    status.terminate()
    done = subprocess.run(  # noqa: S603 - our own script
        [*COMMANDS[script], status.address],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"no status service answers at {status.address}; ")
    assert done.stderr.count("\n") == 1


def test_the_shell_script_waits_for_a_service_that_is_away(status: Service, tmp_path: Path) -> None:
    """It repeats a call that nobody answers, and goes on once the service is back."""
    status.terminate()
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        script = subprocess.Popen(  # noqa: S603 - our own script
            [*COMMANDS["grpcurl"], status.address, "1200"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            wait_until(lambda: "again in a second" in errors.read_text(), what="a second try")
            status.start()
            output, _ = script.communicate(timeout=PATIENCE_SECONDS)
        finally:
            script.kill()
            script.wait()
    assert script.returncode == 0
    assert outcome("grpcurl", output).startswith("COMPLETED total=1200 sent=1188 failed=12 ")


def test_the_shell_script_refuses_a_total_that_is_no_number(status: Service) -> None:
    """A typing mistake ends at once, with a line that says so."""
    done = subprocess.run(  # noqa: S603 - our own script
        [*COMMANDS["grpcurl"], status.address, "2k"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "the total is a whole number, not 2k\n")


def test_the_shell_script_stops_at_a_refusal(status: Service) -> None:
    """What the service refuses is not repeated: the exit code is grpcurl's, with the reason."""
    done = subprocess.run(  # noqa: S603 - our own script
        [*COMMANDS["grpcurl"], status.address, str(2**60)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 64 + 3  # INVALID_ARGUMENT
    assert "INVALID_REQUEST" in done.stderr


def grpcurl(address: str, method: str, **request: object) -> dict[str, Any]:
    """Call the status service once and return its answer."""
    done = subprocess.run(  # noqa: S603 - our own tool
        [
            *("grpcurl", "-plaintext", "-emit-defaults", "-d", json.dumps(request)),
            *(address, f"closeout.status.v1.StatusService/{method}"),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def calls(folder: Path, chance: random.Random) -> list[str]:
    """Write the requests that report a campaign; return each one to three times, in any order."""
    files = []
    for first in range(1, TOTAL + 1, RESULTS_A_CALL):
        results = [
            {"sequence": sequence, "outcome": "SENT" if sequence % 50 else "FAILED"}
            for sequence in range(first, first + RESULTS_A_CALL)
        ]
        request = {"campaigns": [{"campaign_id": "a", "results": results}]}
        (folder / f"{first}.json").write_text(json.dumps(request))
        files += [str(folder / f"{first}.json")] * chance.randint(1, 3)
    chance.shuffle(files)
    return files


def test_s2_s7_calls_of_a_shell_script_are_exact_across_kills(
    status: Service, tmp_path: Path, kills: int
) -> None:
    """Calls by grpcurl, repeated and in any order, count once though the service is killed."""
    chance = random.Random(TOTAL)  # noqa: S311 - an order, no secret
    grpcurl(status.address, "CreateCampaign", campaign_id="a")
    grpcurl(status.address, "StartCampaign", campaign_id="a", total=TOTAL)
    files = calls(tmp_path, chance)
    output = tmp_path / "answers"
    with output.open("wb") as answers, (tmp_path / "errors").open("wb") as errors:
        script = subprocess.Popen(  # noqa: S603 - our own script
            ["/bin/sh", "-c", REPEATING, "sh", status.address, *files],
            env=ENVIRONMENT,
            stdout=answers,
            stderr=errors,
        )
        try:
            for count in sorted(chance.sample(range(1, len(files)), kills)):
                wait_until(
                    lambda count=count: output.read_text().count('"receipts"') >= count,  # type: ignore[misc]
                    what=f"{count} answers",
                )
                status.kill()
                status.start()
            assert script.wait(PATIENCE_SECONDS) == 0
        finally:
            script.kill()
            script.wait()
    assert "rejection" not in output.read_text()
    campaign = grpcurl(status.address, "GetCampaign", campaign_id="a")["campaign"]
    counts = [campaign[name] for name in ("total", "sent", "failed", "skipped", "unknown")]
    assert (campaign["state"], counts) == ("COMPLETED", ["2000", "1960", "40", "0", "0"])
