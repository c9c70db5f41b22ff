"""The Node example against the status service as a process; ``make node`` runs it.

``make test`` does not, since it needs Node and the packages of npm.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.processes import PATIENCE_SECONDS, Service

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/node/report_results.mjs"


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Service]:
    """A status service that runs."""
    settings = {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
    with Service("status_service", "status service listening on ", tmp_path, settings) as service:
        service.start()
        yield service


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script to its end."""
    node = shutil.which("node")
    assert node, "make node needs Node 18 or newer"
    return subprocess.run(  # noqa: S603 - our own script
        [node, str(EXAMPLE), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(("total", "ended"), [("1234", "sent=1222 failed=12"), ("0", "sent=0")])
def test_the_script_completes_its_campaign(status: Service, total: str, ended: str) -> None:
    """It reports every message, and the campaign is COMPLETED."""
    done = run(status.address, total)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"COMPLETED total={total} {ended}" in done.stdout


def test_a_refusal_is_one_line_with_its_reason(status: Service) -> None:
    """The script decodes the error details: it prints the reason beside the text."""
    done = run(status.address, "-5")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("INVALID_REQUEST: total: ")
    assert done.stderr.count("\n") == 1
