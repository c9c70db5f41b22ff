"""``closeout keys``, and what services and commands print while keys are used."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from closeout.aio.channel import open_channel
from closeout.status.v1 import access_pb2 as pb
from closeout.status.v1.access_pb2_grpc import AccessServiceStub
from closeout_cli.services import ServiceProcess
from integration.cli_support import clean_environment, finished
from integration.key_support import credentials, other_secret
from integration.status_support import SqliteDatabase, eventually
from status_service.access import keys


def names(folder: Path) -> list[str]:
    """Return what a folder has."""
    return sorted(path.name for path in folder.iterdir())


class Service:
    """A status service as a process, and all it printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = clean_environment() | {
            "CLOSEOUT_STATUS_DATABASE_URL": f"sqlite:///{folder / 'status.db'}",
            "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
            "CLOSEOUT_LOG_LEVEL": "debug",
        }
        self.printed: list[str] = []
        self.process = ServiceProcess(
            "status service",
            "status_service",
            settings={},
            environment=self.environment,
            folder=folder,
            log=self.printed.append,
        )

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Run ``closeout``; return its exit code, output and errors."""
        where = {"CLOSEOUT_SENDER_STATUS_ADDRESS": self.process.address}
        found = await finished(*words, folder=self.folder, environment=self.environment | where)
        self.printed.append(found[2])
        return found

    async def call(self, method: str, text: str, **fields: Any) -> Any:
        """Make a call about keys."""
        async with open_channel(self.process.address) as channel:
            request = getattr(pb, f"{method}Request")(**fields)
            rpc = getattr(AccessServiceStub(channel), method)
            return await rpc(request, metadata=credentials(text))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A status service on a SQLite file."""
    made = Service(tmp_path)
    await made.process.start()
    yield made
    await made.process.stop()


async def test_the_first_key_is_made_beside_the_running_service(service: Service) -> None:
    """The key alone is on standard output; the service takes it, and nobody else any more."""
    code, out, err = await service.run("keys", "create", "--admin", "--organisation", "acme")
    assert code == 0
    text = out.removesuffix("\n")
    key = keys.parse(text)
    assert "key admin" in err
    assert key.key_id in err
    assert "of organisation acme in sqlite:///" in err
    caller = await service.call("GetCaller", text)
    assert (caller.organization, caller.actor) == ("acme", "key:admin")
    assert list(caller.scopes) == ["admin", "read", "repair", "report", "write"]
    code, out, err = await service.run("keys", "list")
    assert (code, out) == (1, "")
    assert "this service needs a key" in err
    code, out, _ = await service.run(
        *("keys", "create", "--admin", "--name", "sender", "--scope", "service", "--scope"),
        *("report", "--expires", "90d", "--json"),
    )
    made = json.loads(out)
    assert (code, made["key"]["scopes"]) == (0, ["report", "service"])
    assert made["key"]["expire_time"]
    acting = await service.call("GetCaller", made["secret_key"])
    assert (acting.organization, acting.key_name) == ("default", "sender")


async def test_before_the_first_key_the_command_needs_none(service: Service) -> None:
    """Create, list, revoke; the last one is refused, since there is a key then."""
    code, out, err = await service.run("keys", "create", "--name", "ops", "--scope", "admin")
    assert code == 0
    assert keys.parse(out.removesuffix("\n"))
    assert "it is shown this once" in err
    code, out, err = await service.run("keys", "revoke", keys.parse(out.strip()).key_id)
    assert (code, out) == (1, "")
    assert "this service needs a key" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "name the key with --name, and what it allows with --scope"),
        (["create", "--name", "x", "--scope", "all"], "'all' is not one of 'read', 'report'"),
        (
            ["create", "--name", "x", "--scope", "read", "--organisation", "y"],
            "--organisation and --data-dir go with --admin",
        ),
        (["create", "--admin", "--name", "a b"], "--name: 'a b' is not 1 to 64 of"),
        (["create", "--admin", "--organisation", "/"], "--organisation: '/' is not 1 to 64 of"),
        (["create", "--admin", "--expires", "0"], "--expires-seconds: name a span"),
        (["create", "--admin", "--expires", "soon"], "'soon' is not a duration, as in 90s"),
    ],
)
async def test_a_wrong_command_line_makes_nothing(
    words: list[str], said: str, tmp_path: Path
) -> None:
    """Exit code 2, and one line that says what to write; no database is made."""
    code, out, err = await finished(
        "keys", *words, folder=tmp_path, environment=clean_environment()
    )
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert said in line
    assert names(tmp_path) == []


async def test_the_folder_of_up_is_found(tmp_path: Path) -> None:
    """Without a setting, the key goes where ``closeout up`` keeps the database."""
    (tmp_path / "closeout-data").mkdir()
    (tmp_path / "closeout-data" / "status.db").touch()
    for words in ((), ("--data-dir", "closeout-data")):
        code, _, err = await finished(
            *("keys", "create", "--admin", *words),
            folder=tmp_path,
            environment=clean_environment(),
        )
        assert code == 0
        assert f"sqlite:///{tmp_path / 'closeout-data' / 'status.db'}" in err
    assert names(tmp_path) == ["closeout-data"]
    with SqliteDatabase(tmp_path / "closeout-data" / "status.db").by_hand() as connection:
        assert [tuple(row) for row in connection.execute("SELECT count(*) FROM keys")] == [(2,)]


async def test_a_database_of_another_version_is_left_alone(service: Service) -> None:
    """Beside a service that runs, nothing is migrated."""
    with SqliteDatabase(service.folder / "status.db").by_hand() as connection:
        (table,) = (
            row["name"]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE name LIKE '%version%' AND type = 'table'"
            )
        )
        connection.execute(f"UPDATE {table} SET version_num = '0003'")  # noqa: S608
    code, out, err = await service.run("keys", "create", "--admin")
    assert (code, out) == (2, "")
    assert "is in use by a service of another version (0003 -> " in err


async def test_no_key_is_ever_printed_but_once(service: Service) -> None:
    """Not by the service, whatever it logs, and not by a command that is refused."""
    _, out, _ = await service.run("keys", "create", "--admin")
    text = out.strip()
    made = await service.call("CreateKey", text, name="ops", scopes=["read"])
    rotated = await service.call("RotateKey", text, key_id=made.key.key_id, overlap_seconds=0)
    parsed = keys.parse(text)
    wrong = [
        made.secret_key,
        text[:-1],
        f"{text}x",
        other_secret(keys.NewKey(parsed.key_id, parsed.secret_hash, text)),
    ]
    for used in wrong:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.call("ListKeys", used)
        service.printed += [str(caught.value), repr(caught.value)]
    for used in (text, made.secret_key):
        code, _, _ = await service.run("keys", "revoke", used, "--yes")
        assert code == 1
    await service.call("RevokeKey", text, key_id=made.key.key_id)

    async def logged() -> bool:
        return any("key_revoked" in line for line in service.printed)

    await eventually(logged, what="the service logs the end of a key")
    await service.process.stop()
    everything = "\n".join(service.printed)
    assert '"key_refused"' in everything
    for used in (text, made.secret_key, rotated.secret_key, *wrong):
        assert used.rpartition("_")[2] not in everything
        assert used.rpartition("_")[2][:43] not in everything
