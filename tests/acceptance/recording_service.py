"""The status service on SQLite, with a record of what its disk holds at every sync.

Before each fsync of the database's files a picture is taken: what they contain, what of
it was synced before, and how much was acknowledged by then. What a crash at any moment
leaves behind lies between the two contents; :mod:`acceptance.disk_pictures` makes it.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pysqlite3 import _sqlite3

from acceptance import library_calls
from acceptance.disk_pictures import ACKNOWLEDGED, PICTURES, SYNCED, WRITTEN
from closeout.status.v1 import status_pb2
from status_service import __main__ as status_main
from status_service.grpc_api import servicer

#: Pages in the log at which SQLite copies them into the database: every few commits.
_CHECKPOINT_PAGES = 16
#: The variable that takes the place of the service's own ``synchronous = FULL``.
SYNCHRONOUS = "RECORDED_SYNCHRONOUS"
_DATABASE = "closeout-status.db"
#: The files of a database; the index of the log is made anew after a crash.
_FILES = (_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-journal")


class Recorder:
    """Takes a picture before every sync of a file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._synced = folder / SYNCED
        self._synced.mkdir()
        self._pictures = folder / PICTURES
        self._pictures.mkdir()
        self._taken = 0
        self._lock = threading.Lock()
        #: The highest frame of the stream that was acknowledged, or is about to be.
        self.acknowledged = 0

    def sync(self, descriptor: int) -> int:
        """Do what ``fsync`` does, between a picture and a note of what is durable now."""
        with self._lock:
            self.take()
            os.fsync(descriptor)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                for path in self._synced.iterdir():
                    if not (self._folder / path.name).exists():
                        path.unlink()  # that it was removed is durable now, too
            else:
                self._keep(Path(f"/proc/self/fd/{descriptor}").readlink())
        return 0

    def take(self) -> None:
        """Take a picture."""
        picture = self._pictures / f"{self._taken:04}"
        self._taken += 1
        shutil.copytree(self._synced, picture / SYNCED, copy_function=os.link)
        (picture / WRITTEN).mkdir()
        for name in _FILES:
            if (self._folder / name).exists():
                shutil.copyfile(self._folder / name, picture / WRITTEN / name)
        (picture / ACKNOWLEDGED).write_text(str(self.acknowledged))

    def _keep(self, path: Path) -> None:
        # A file of its own each time: pictures hold on to the one before.
        copy = self._synced / f"{path.name}.new"
        shutil.copyfile(path, copy)
        copy.rename(self._synced / path.name)


def _watch_answers(recorder: Recorder) -> None:
    serve = servicer.StatusServicer.ReportResults

    class Answers:
        def __init__(self, context: Any) -> None:
            self._context = context

        def __getattr__(self, name: str) -> Any:
            return getattr(self._context, name)

        async def write(self, response: status_pb2.ReportResultsResponse) -> None:
            recorder.acknowledged = max(recorder.acknowledged, response.acked_through)
            await self._context.write(response)

    async def report_results(
        service: servicer.StatusServicer, requests: AsyncIterator[Any], context: Any
    ) -> None:
        await serve(service, requests, Answers(context))

    servicer.StatusServicer.ReportResults = report_results


def _checkpoint_often(connection: Any, record: Any) -> None:  # noqa: ARG001
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")


def _sync_otherwise(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA synchronous = {os.environ[SYNCHRONOUS]}")


def main() -> int:
    """Run the service in this folder, recording; return the exit code of the process."""
    recorder = Recorder(Path.cwd())
    calls = [
        library_calls.replace(_sqlite3.__file__, name, recorder.sync)
        for name in ("fsync", "fdatasync")
    ]
    assert any(calls), "SQLite syncs by another call"
    sa.event.listen(sa.Engine, "connect", _checkpoint_often)
    if SYNCHRONOUS in os.environ:
        sa.event.listen(sa.Engine, "begin", _sync_otherwise)
    _watch_answers(recorder)
    code = status_main.main()
    recorder.take()
    return code
