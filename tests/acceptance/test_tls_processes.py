"""The services as processes with TLS, as the pages say it: certificates, calls, scripts."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.documents import ROOT, blocks, commands
from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service, wait_until
from integration.tls_support import Authority

_KEY = "closeout_abcdefghijkl_notAKeyOfAnybody"
#: The tools of this environment, grpcurl among them.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Have a certificate of this machine in ``tls.crt`` and ``tls.key``, of the authority."""
    authority = Authority(tmp_path)
    issued = authority.issue("tls")
    assert (issued.certificate.name, issued.key.name) == ("tls.crt", "tls.key")
    return authority


@pytest.fixture
def status(tmp_path: Path, authority: Authority) -> Iterator[Service]:  # noqa: ARG001 - its files
    """A status service that serves with these files."""
    settings = {
        "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
        "CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE": str(tmp_path / "tls.crt"),
        "CLOSEOUT_STATUS_TLS_KEY_FILE": str(tmp_path / "tls.key"),
        "CLOSEOUT_API_KEY": _KEY,  # of the person who starts it, for other programs
    }
    with ForkedService(
        "status_service", "status service listening on ", tmp_path, settings
    ) as service:
        service.start()
        yield service
    assert _KEY not in service.log


def run(command: list[str], folder: Path, ca_file: Path) -> str:
    """Run a program with the key and TLS in its environment; return what it prints."""
    done = subprocess.run(  # noqa: S603 - our own scripts, and tools of this environment
        command,
        cwd=folder,
        env={
            **os.environ,
            "PATH": _PATH,
            "CLOSEOUT_API_KEY": _KEY,
            "CLOSEOUT_TLS_CA_FILE": str(ca_file),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert _KEY not in done.stdout + done.stderr
    return done.stdout


def page(address: str, authority: Authority) -> int:
    """Return the status of a page that nobody has."""
    context = ssl.create_default_context(cafile=authority.ca_file)
    try:
        with urllib.request.urlopen(
            f"https://{address}/no-such-page", context=context, timeout=PATIENCE_SECONDS
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_examples_call_by_tls_with_a_key(
    tmp_path: Path, authority: Authority, status: Service
) -> None:
    """Each completes its campaign; HTTP is https on its port, and the service says so."""
    assert "HTTP on https://" in (tmp_path / "status_service.stdout").read_text()
    assert page(status.http_address, authority) == 404
    for command in (
        [sys.executable, str(ROOT / "examples/report_results.py"), status.address, "--total=20"],
        [
            sys.executable,
            str(ROOT / "examples/report_results_sync.py"),
            status.address,
            "--total=20",
        ],
        ["sh", str(ROOT / "examples/report_results.sh"), status.address, "20"],
    ):
        assert "COMPLETED" in run(command, tmp_path, authority.ca_file)


def test_the_documented_call_of_grpcurl_works(
    tmp_path: Path, authority: Authority, status: Service
) -> None:
    """The command of docs/clients.md, with the address of this test."""
    (command,) = {
        command
        for block in blocks("sh")
        for command in commands(block)
        if command.startswith("grpcurl -cacert")
    }
    command = command.replace("status.example.com:20051", status.address)
    command = command.replace(" ca.crt ", f" {authority.ca_file} ")
    assert '"read_time"' in run(["sh", "-c", command], tmp_path, authority.ca_file)


def test_a_process_takes_new_files_without_a_restart(
    tmp_path: Path, authority: Authority, status: Service
) -> None:
    """On the loop that services run on: both ports serve the certificate of another authority."""
    old = authority.ca_file.read_bytes()
    other = Authority(tmp_path, "other")
    other.issue("tls")
    wait_until(lambda: "certificate_replaced" in status.log, what="certificate_replaced")
    assert page(status.http_address, other) == 404
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        page(status.http_address, authority)
    example = [sys.executable, str(ROOT / "examples/report_results.py"), status.address]
    assert "COMPLETED" in run([*example, "--total=20"], tmp_path, other.ca_file)
    assert authority.ca_file.read_bytes() == old
    assert status.is_running


def test_the_script_sends_no_key_in_plain_text(tmp_path: Path) -> None:
    """To another machine it needs TLS, and says so before any call."""
    script = str(ROOT / "examples/report_results.sh")
    done = subprocess.run(  # noqa: S603 - our own script
        ["sh", script, "192.0.2.1:20051"],  # noqa: S607 - that of the system
        env={**os.environ, "PATH": _PATH, "CLOSEOUT_API_KEY": _KEY},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "set CLOSEOUT_TLS_CA_FILE" in done.stderr


def test_a_service_takes_the_certificates_of_the_documented_commands(tmp_path: Path) -> None:
    """Where openssl is installed: the commands of docs/running.md make what a service takes."""
    if shutil.which("openssl") is None:
        return  # the other tests have certificates of a library
    made = [
        command
        for block in blocks("sh")
        for command in commands(block)
        if command.startswith("openssl ")
    ]
    assert len(made) == 2
    for command in made:
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)  # noqa: S603, S607
    settings = {
        "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
        "CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE": str(tmp_path / "tls.crt"),
        "CLOSEOUT_STATUS_TLS_KEY_FILE": str(tmp_path / "tls.key"),
    }
    with ForkedService(
        "status_service", "status service listening on ", tmp_path, settings
    ) as status:
        status.start()
        example = [sys.executable, str(ROOT / "examples/report_results.py"), status.address]
        assert "COMPLETED" in run([*example, "--total=20"], tmp_path, tmp_path / "ca.crt")
