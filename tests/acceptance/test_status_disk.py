"""S7: what SQLite's files hold after a crash or a power cut at any sync of a campaign."""

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
    """Send a campaign through a service that records; return its pictures."""
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
    """Put files into a new folder; return it."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check(files: Files, acknowledged: int, folder: Path) -> None:
    """Check what must hold in what a crash left, as the next process finds it."""
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
    """Check everything that a crash can leave at every sync."""
    for number, picture in enumerate(recorded):
        for variant, files in enumerate(crash(picture)):
            check(files, picture.acknowledged, folder / f"{number}-{variant}")


def killed(picture: Picture) -> list[Files]:
    """Return what a killed process leaves: all it has written."""
    return [picture.written]


def cut(picture: Picture) -> list[Files]:
    """Return what a power cut leaves at worst: nothing but what was synced."""
    return [picture.synced]


def torn(picture: Picture) -> list[Files]:
    """Return what a power cut leaves at random: some sectors of what was not synced, too."""
    return [picture.torn(random.Random(seed)) for seed in range(_TORN)]  # noqa: S311 - no secret


@pytest.mark.parametrize("crash", [killed, cut, torn])
async def test_s7_a_crash_at_any_sync_loses_nothing_acknowledged(
    recorded: list[Picture], tmp_path: Path, crash: Callable[[Picture], list[Files]]
) -> None:
    """At every sync: the file is whole, the invariants hold, acknowledged frames are there."""
    check_all(recorded, crash, tmp_path)


async def test_s7_a_service_goes_on_after_a_power_cut_at_any_sync(
    recorded: list[Picture], tmp_path: Path
) -> None:
    """Started on what was synced, it takes the rest and completes the campaign."""
    for number, picture in enumerate(recorded):
        folder = put(picture.synced, tmp_path / str(number))
        campaign = Reported.of("a", _FRAMES)
        campaign.acknowledged = set(range(picture.acknowledged))
        settings = StatusSettings(
            listen="127.0.0.1:0", database_url=f"sqlite:///{folder}/{_DATABASE}"
        )
        async with (
            running(Settings(status=settings)) as service,
            StatusClient(service.address) as client,
        ):
            await campaign.start(client)
            await campaign.report(service.address)
            campaign = await client.get_campaign(campaign_id="a")
        assert campaign.state == pb.Campaign.COMPLETED
        check(
            {path.name: path.read_bytes() for path in folder.iterdir()},
            _FRAMES,
            tmp_path / f"{number}-completed",
        )


async def test_the_pictures_show_the_log_and_the_database_at_work(recorded: list[Picture]) -> None:
    """Commits, checkpoints and the reuse of the log are all among them."""
    assert recorded[-1].acknowledged == _FRAMES
    log = f"{_DATABASE}-wal"
    assert sum(one.synced.get(log) != one.written.get(log) for one in recorded) >= _FRAMES
    half_copied = [one for one in recorded if one.synced.get(_DATABASE) != one.written[_DATABASE]]
    assert any(one.acknowledged for one in half_copied)
    headers = {one.written[log][:32] for one in recorded if one.written.get(log)}
    assert len(headers) > 2, "the log was begun anew"


async def test_s7_the_pictures_show_what_synchronous_normal_loses(tmp_path: Path) -> None:
    """The check can fail: with the setting of many recipes a power cut takes back results."""
    normal = await record(tmp_path / "recorded", **{recording_service.SYNCHRONOUS: "NORMAL"})
    with pytest.raises(AssertionError, match="S7"):
        check_all(normal, cut, tmp_path)
