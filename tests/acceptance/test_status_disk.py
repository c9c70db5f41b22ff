"""S7: the contents of SQLite's files after a crash or a power cut at any sync."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from pysqlite3 import dbapi2

from acceptance import recording_service
from acceptance.disk_pictures import Files, Picture, pictures
from acceptance.failing_campaign import Reported
from acceptance.forked import ForkedService
from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import check_invariants
from status_service.server import running
from status_service.settings import Settings, StatusSettings

_FRAMES, _IN_FLIGHT, _TORN = 24, 2, 10
_DATABASE = "closeout-status.db"


async def record(folder: Path, **environment: str) -> list[Picture]:
    """Report a campaign to a recording service; return its pictures."""
    with ForkedService(
        recording_service.main,
        "status service listening on ",
        folder,
        {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"} | environment,
    ) as service:
        service.start()
        campaign = Reported.of("a", _FRAMES)
        async with StatusClient(service.address) as client:
            await campaign.start(client)
        assert await campaign.report(service.address, in_flight=_IN_FLIGHT) == "acknowledged"
        assert service.terminate() == 0
        assert "Traceback" not in service.log
    return list(pictures(folder))


@pytest.fixture(scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """The pictures of a campaign from its first sync to the end."""
    return await record(tmp_path_factory.mktemp("disk"))


def put(files: Files, folder: Path) -> Path:
    """Write files into a new folder; return the folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check(files: Files, acknowledged: int, folder: Path) -> None:
    """Check the database that a crash left."""
    connection = dbapi2.connect(put(files, folder) / _DATABASE)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store'").fetchone():
            check_invariants(connection)
            kept = dict(connection.execute("SELECT sequence, outcome FROM results").fetchall())
        else:
            kept = {}
        for sequence, outcome in Reported.of("a", _FRAMES).outcomes_of(range(acknowledged)).items():
            assert kept.get(sequence, 0) >= outcome, "S7"
    finally:
        connection.close()


def check_all(
    recorded: list[Picture], crash: Callable[[Picture], list[Files]], folder: Path
) -> None:
    """Check all states that a crash can leave at every sync."""
    for number, picture in enumerate(recorded):
        for variant, files in enumerate(crash(picture)):
            check(files, picture.acknowledged, folder / f"{number}-{variant}")


def killed(picture: Picture) -> list[Files]:
    """Return what a killed process leaves: all written contents."""
    return [picture.written]


def cut(picture: Picture) -> list[Files]:
    """Return what a power cut leaves at worst: only synced contents."""
    return [picture.synced]


def torn(picture: Picture) -> list[Files]:
    """Return what a power cut leaves at random: also some unsynced sectors."""
    return [picture.torn(random.Random(seed)) for seed in range(_TORN)]  # noqa: S311 - no secret


@pytest.mark.parametrize("crash", [killed, cut, torn])
async def test_s7_a_crash_at_any_sync_loses_nothing_acknowledged(
    recorded: list[Picture], tmp_path: Path, crash: Callable[[Picture], list[Files]]
) -> None:
    """At every sync the file is intact, the invariants hold, and acknowledged frames exist."""
    check_all(recorded, crash, tmp_path)


async def test_s7_a_service_goes_on_after_a_power_cut_at_any_sync(
    recorded: list[Picture], tmp_path: Path
) -> None:
    """On the synced contents, it accepts the rest and completes the campaign."""
    for number, picture in enumerate(recorded):
        folder = put(picture.synced, tmp_path / str(number))
        campaign = Reported.of("a", _FRAMES)
        campaign.acknowledged = set(range(picture.acknowledged))
        settings = StatusSettings(
            http_listen="127.0.0.1:0",
            listen="127.0.0.1:0",
            database_url=f"sqlite:///{folder}/{_DATABASE}",
        )
        async with (
            running(Settings(status=settings)) as service,
            StatusClient(service.address) as client,
        ):
            await campaign.start(client)
            await campaign.report(service.address)
            stored = await client.get_campaign(campaign_id="a")
        assert stored.state == pb.Campaign.COMPLETED
        check(
            {path.name: path.read_bytes() for path in folder.iterdir()},
            _FRAMES,
            tmp_path / f"{number}-completed",
        )


async def test_the_pictures_show_the_log_and_the_database_at_work(recorded: list[Picture]) -> None:
    """The pictures include commits, checkpoints and the reuse of the log."""
    assert recorded[-1].acknowledged == _FRAMES
    log = f"{_DATABASE}-wal"
    assert sum(disk.synced.get(log) != disk.written.get(log) for disk in recorded) >= _FRAMES
    half_copied = [
        disk for disk in recorded if disk.synced.get(_DATABASE) != disk.written[_DATABASE]
    ]
    assert any(disk.acknowledged for disk in half_copied)
    headers = {disk.written[log][:32] for disk in recorded if disk.written.get(log)}
    assert len(headers) > 2, "the log was reused"


async def test_s7_the_pictures_show_what_synchronous_normal_loses(tmp_path: Path) -> None:
    """The check can fail: with synchronous = NORMAL a power cut loses acknowledged results."""
    normal = await record(tmp_path / "recorded", **{recording_service.SYNCHRONOUS: "NORMAL"})
    with pytest.raises(AssertionError, match="S7"):
        check_all(normal, cut, tmp_path)
