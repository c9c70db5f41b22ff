"""``closeout`` with a key and TLS: every command, and what the doctor finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from closeout_cli import security_checks
from closeout_cli.health_checks import Check, Service
from integration.cli_support import clean_environment, finished
from integration.status_support import serving
from integration.tls_support import Authority

_KEY = "closeout_abcdefghijkl_notAKeyOfAnybody"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def closeout(
    folder: Path, address: str, *words: str, **environment: object
) -> tuple[int, str, str]:
    """Run a command with the address of the status service; the key is nowhere in its output."""
    code, out, err = await finished(
        *words,
        folder=folder,
        environment={
            **clean_environment(),
            "CLOSEOUT_SENDER_STATUS_ADDRESS": address,
            "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:1",
            **{name: str(value) for name, value in environment.items()},
        },
    )
    assert _KEY not in out + err
    assert "Traceback" not in err
    return code, out, err


async def test_a_command_calls_by_tls_with_a_key(tmp_path: Path, authority: Authority) -> None:
    """The variables say how; a file of the key does as well, and so does mutual TLS."""
    clients = Authority(tmp_path, "clients")
    mine = clients.issue("mine", "operator@example.com")
    key = tmp_path / "key"
    key.write_text(f"{_KEY}\n")
    settings = authority.issue("server").settings(client_ca=clients)
    async with serving(tmp_path, **authority.issue("plain").settings()) as status:
        known = {"CLOSEOUT_TLS_CA_FILE": authority.ca_file}
        for environment in ({"CLOSEOUT_API_KEY": _KEY}, {"CLOSEOUT_API_KEY_FILE": key}, {}):
            code, out, err = await closeout(
                tmp_path, status.address, "list", **known, **environment
            )
            assert (code, err) == (0, ""), out
    (tmp_path / "mutual").mkdir()
    async with serving(tmp_path / "mutual", **settings) as status:
        shown = {
            "CLOSEOUT_TLS_CERTIFICATE_FILE": mine.certificate,
            "CLOSEOUT_TLS_KEY_FILE": mine.key,
        }
        code, _, err = await closeout(tmp_path, status.address, "list", **known, **shown)
        assert (code, err) == (0, "")
        code, _, err = await closeout(tmp_path, status.address, "list", **known)
        assert code == 5
        assert "CLOSEOUT_TLS_CERTIFICATE_FILE" in err
        code, _, err = await closeout(tmp_path, status.address, "list")
        assert code == 5
        assert "it may speak TLS only" in err


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (
            {"CLOSEOUT_API_KEY": _KEY},
            "the key would go to 192.0.2.1:20051 in plain text, for anybody on the way to read",
        ),
        (
            {"CLOSEOUT_API_KEY": _KEY, "CLOSEOUT_API_KEY_FILE": "key"},
            "CLOSEOUT_API_KEY and CLOSEOUT_API_KEY_FILE are both set",
        ),
        ({"CLOSEOUT_API_KEY": f"{_KEY} "}, "api_key must be printable ASCII without blanks"),
        ({"CLOSEOUT_API_KEY_FILE": "missing"}, "file of the key missing: No such file"),
        ({"CLOSEOUT_TLS": "perhaps"}, "CLOSEOUT_TLS is 'perhaps'; set it to on or off"),
        ({"CLOSEOUT_TLS_CA_FILE": "missing.pem"}, "ca_file missing.pem: No such file"),
        (
            {"CLOSEOUT_TLS": "off", "CLOSEOUT_TLS_CA_FILE": "ca.pem"},
            "CLOSEOUT_TLS is off, and files of TLS are named",
        ),
        ({"CLOSEOUT_TLS_KEY_FILE": "k"}, "certificate_file and key_file go together"),
    ],
)
async def test_what_can_not_be_meant_is_refused_before_any_call(
    tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    """In one line that says what to set, and without the key."""
    code, out, err = await closeout(tmp_path, "192.0.2.1:20051", "list", **environment)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("doctor",), ("pause", "c")])
async def test_no_command_sends_a_key_in_plain_text(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """To another machine it goes by TLS, or because a variable says so."""
    address = "192.0.2.1:20051"
    code, out, err = await closeout(tmp_path, address, *command, CLOSEOUT_API_KEY=_KEY)
    assert (code, out) == (2, "")
    assert "set CLOSEOUT_TLS_CA_FILE to use TLS, or CLOSEOUT_TLS=off" in err


async def test_the_doctor_names_certificates_that_end_soon(
    tmp_path: Path, authority: Authority
) -> None:
    """That of a service and its own: when they end, and that no restart is needed."""
    clients = Authority(tmp_path, "clients")
    mine = clients.issue("mine", "operator@example.com", days=13.5)
    settings = authority.issue("server", days=5.5).settings(client_ca=clients)
    async with serving(tmp_path, **settings) as status:
        code, out, _ = await closeout(
            tmp_path,
            status.address,
            "doctor",
            "--json",
            CLOSEOUT_TLS_CA_FILE=authority.ca_file,
            CLOSEOUT_TLS_CERTIFICATE_FILE=mine.certificate,
            CLOSEOUT_TLS_KEY_FILE=mine.key,
        )
    assert code == 3
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["status service"]["ok"]
    for name, days in (
        ("certificate of the status service", 5),
        ("certificate of this client", 13),
    ):
        assert not checks[name]["ok"]
        assert f"in {days} days" in checks[name]["summary"]
        assert "renew it" in checks[name]["remedy"]


async def test_the_doctor_is_content_with_a_long_certificate(
    tmp_path: Path, authority: Authority
) -> None:
    """It says when it ends; files of a service that can't be used are named with the setting."""
    issued = authority.issue("server")
    async with serving(tmp_path, **issued.settings()) as status:
        known = {"CLOSEOUT_TLS_CA_FILE": authority.ca_file}
        _, out, _ = await closeout(
            tmp_path,
            status.address,
            "doctor",
            **known,
            CLOSEOUT_STATUS_TLS_CERTIFICATE_FILE=issued.certificate,
            CLOSEOUT_STATUS_TLS_KEY_FILE=authority.ca_file,
        )
    assert "ok      certificate of the status service: ends at 20" in out
    assert "problem settings: CLOSEOUT_STATUS_TLS_KEY_FILE: " in out


def test_the_doctor_warns_of_a_key_in_plain_text() -> None:
    """To another machine, with CLOSEOUT_TLS=off; to this machine it may go."""

    def at(name: str, address: str) -> Service:
        return Service(name, address, Check(name, ok=True, summary=""))

    services = [at("status", "192.0.2.1:20051"), at("sender", "127.0.0.1:20052")]
    options = {"api_key": lambda: _KEY, "tls": None, "allow_plaintext": True}
    (check,) = security_checks.key_in_plain_text(services, options)  # type: ignore[arg-type]
    assert not check.ok
    assert check.summary == "goes to the status service at 192.0.2.1:20051 in plain text"
    assert security_checks.key_in_plain_text(services, options | {"api_key": ""}) == []  # type: ignore[arg-type]
