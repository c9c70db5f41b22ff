"""The units and the example settings of deploy/: they verify, and they fit the program."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from closeout_cli.serve import Service
from sender_service.channels.registry import installed_channels
from sender_service.settings import SenderSettings, settings_model
from service_runtime import settings
from service_runtime.readiness import STUCK_SECONDS
from service_runtime.setting_names import CLIENT_VARIABLES
from status_service.settings import Settings, StatusSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PROGRAM = "/opt/closeout/bin/closeout"
ANALYZE = shutil.which("systemd-analyze")
#: Keys that systemd 254 brought; older ones ignore them with a remark.
NEWER = ("RestartSteps", "RestartMaxDelaySec")
#: Every key that the units may use.
KEYS = {
    "Unit": {"Description", "After", "Wants", "StartLimitIntervalSec"},
    "Install": {"WantedBy"},
    "Service": {
        *("Type", "ExecStart", "Environment", "EnvironmentFile", "DynamicUser", "User"),
        *("StateDirectory", "StateDirectoryMode", "WorkingDirectory", "UMask"),
        *("Restart", "RestartSec", *NEWER, "TimeoutStopSec"),
        *("NotifyAccess", "WatchdogSec", "TimeoutStartSec"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities"),
        *("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers"),
        *("ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs"),
        *("ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "RemoveIPC"),
        *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime"),
        *("RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute"),
        *("SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
    },
}
#: The worst exposure that ``systemd-analyze security`` may find, in tenths.
EXPOSURE = 15


def parsed(unit: Path) -> configparser.RawConfigParser:
    """Return a unit; of a key that stands twice the last line."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign] # keys keep their capitals
    parser.read_string(unit.read_text())
    return parser


def seconds(text: str) -> int:
    """Return a span of systemd's, of one unit."""
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr] # it matches
    return int(number) * {"s": 1, "min": 60}[unit]


def test_each_service_has_a_unit() -> None:
    """Every service that can be served alone has its unit, and no unit serves another."""
    commands = [parsed(unit)["Service"]["ExecStart"] for unit in UNITS]
    assert sorted(commands) == sorted(f"{PROGRAM} serve {service}" for service in Service)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(PROGRAM).name in scripts


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_has_known_keys_only(unit: Path) -> None:
    """A misspelt key would be ignored silently."""
    found = parsed(unit)
    assert set(found.sections()) == set(KEYS)
    for section, known in KEYS.items():
        assert set(found[section]) <= known


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_lets_its_service_stop_in_order(unit: Path) -> None:
    """It ends two seconds after its grace at the latest; systemd waits longer."""
    limit = seconds(parsed(unit)["Service"]["TimeoutStopSec"])
    for table in (StatusSettings(), SenderSettings()):
        assert limit > table.grace_seconds + 2


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_waits_for_what_its_service_says(unit: Path) -> None:
    """It is ready when it says so, and a start with a long migration is not cut short."""
    service = parsed(unit)["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert service["TimeoutStartSec"] == "infinity"
    assert seconds(service["WatchdogSec"]) >= STUCK_SECONDS
    assert "AF_UNIX" in service["RestrictAddressFamilies"]


def test_the_databases_are_where_the_units_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example settings are right, and fit the folders and the environment of the units."""
    monkeypatch.chdir(DEPLOY)
    environment = {"CLOSEOUT_CONFIG": str(DEPLOY / "closeout.toml")}
    status = settings.load(Settings, environment).status
    sender = settings.load(settings_model(installed_channels()), environment).sender
    for service, table in (("status", status), ("sender", sender)):
        unit = parsed(DEPLOY / f"closeout-{service}.service")["Service"]
        folder = f"/var/lib/{unit['StateDirectory']}"
        assert table.database_url == f"sqlite:///{folder}/{service}.db"  # type: ignore[attr-defined] # both have one
        assert unit["WorkingDirectory"] == folder
        assert unit["EnvironmentFile"] == f"-/etc/closeout/{service}.env"
        assert unit["Environment"] == "CLOSEOUT_CONFIG=/etc/closeout/closeout.toml"
    assert sender.status_address == status.listen


def test_the_page_names_what_there_is() -> None:
    """docs/running.md names settings, files and commands that exist."""
    page = (ROOT / "docs" / "running.md").read_text()
    known = {
        f"CLOSEOUT_{table}_{field}".upper()
        for table, model in (
            ("status", StatusSettings),
            ("sender", SenderSettings),
            *((name, channel.settings_model) for name, channel in installed_channels().items()),
        )
        for field in model.model_fields
    }
    assert set(re.findall(r"CLOSEOUT_[A-Z_]+", page)) <= {
        *known,
        "CLOSEOUT_CONFIG",
        *CLIENT_VARIABLES,
    }
    for name in re.findall(r"deploy/([a-z.-]+)", page):
        assert (DEPLOY / name).exists()
    for command in re.findall(r"closeout (serve [a-z]+|doctor|up|fix)", page):
        words = [sys.executable, "-m", "closeout_cli", *command.split(), "--help"]
        done = subprocess.run(words, check=False, capture_output=True)  # noqa: S603 - our own
        assert done.returncode == 0, command


def analyzed(tmp_path: Path, *words: str) -> tuple[int, str]:
    """Run systemd-analyze on the units, with our own program in place of the installed one."""
    program = Path(sys.executable).with_name("closeout")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, str(program)))
    assert ANALYZE
    done = subprocess.run(  # noqa: S603 - a tool of the system, our own arguments
        [ANALYZE, *words, *(str(tmp_path / unit.name) for unit in UNITS)],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    """Where systemd is installed, it has nothing to remark but on keys of newer versions."""
    if ANALYZE is None:
        return  # the other tests look at each key
    code, text = analyzed(tmp_path, "verify", "--man=no")
    ours = [line for line in text.splitlines() if "closeout" in line]
    assert [line for line in ours if not any(key in line for key in NEWER)] == []
    assert code == 0, text


def test_the_units_are_hardened(tmp_path: Path) -> None:
    """Where systemd is installed, it finds little that a service could do to the machine."""
    if ANALYZE is None:
        return  # the other tests look at each key
    code, text = analyzed(
        tmp_path, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager"
    )
    assert code == 0, text
