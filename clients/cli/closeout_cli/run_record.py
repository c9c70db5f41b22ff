"""Who runs ``closeout up`` on a data folder: a lock, and the processes in it.

The system lets go of the lock when the process ends, however it ends. A process is known
by its id together with its start, so that no other one with the same id is ever
signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from closeout_cli.failures import CommandError

if TYPE_CHECKING:
    from types import TracebackType

    import psutil

_NAME = "closeout-up.lock"
_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
#: Where /proc/PID/stat has the start, counted from behind the name in brackets.
_START_FIELD = 19


@dataclass(frozen=True, slots=True)
class KnownProcess:
    """A process that is known again.

    Attributes:
        name: what it is, for messages.
        pid: its id.
        start: when it started, in a form that is only compared.
    """

    name: str
    pid: int
    start: str

    @classmethod
    def of(cls, name: str, pid: int) -> KnownProcess:
        """Return the process that has an id now."""
        return cls(name, pid, _start(pid))

    def running(self) -> psutil.Process | None:
        """Return the process if it still runs; never another one with its id."""
        import psutil  # noqa: PLC0415 - slow to import

        try:
            process = psutil.Process(self.pid)
            if _start(self.pid) != self.start or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except (psutil.Error, OSError):
            return None
        return process


def _start(pid: int) -> str:
    """Return what tells a process from an earlier or later one with its id.

    Raises:
        psutil.Error: there is none.
        OSError: there is none.
    """
    if not _BOOT.exists():
        import psutil  # noqa: PLC0415 - slow to import

        return f"{psutil.Process(pid).create_time():.2f}"
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return f"{_BOOT.read_text().strip()}/{fields[_START_FIELD]}"


class RunRecord:
    """The record of this ``closeout up``, held while the block runs.

    Args:
        data_dir: the folder.

    Raises:
        CommandError: another ``closeout up`` holds it, or the folder can't be written.
    """

    def __init__(self, data_dir: Path) -> None:
        self._processes = [KnownProcess.of("closeout up", os.getpid())]
        try:
            self._file = (data_dir / _NAME).open("a+")
        except OSError as error:
            raise CommandError(
                f"--data-dir {data_dir}: {error.strerror}; name another folder"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise _held(data_dir) from None
        self._write()

    def add(self, name: str, pid: int) -> None:
        """Record a service that was started."""
        self._processes.append(KnownProcess.of(name, pid))
        self._write()

    def _write(self) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        json.dump([asdict(process) for process in self._processes], self._file)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Forget the processes and let go of the folder."""
        self._file.truncate(0)
        self._file.close()


def refuse_second(data_dir: Path) -> None:
    """Do nothing if nobody holds the folder.

    Raises:
        CommandError: a ``closeout up`` does; the text names it.
    """
    if is_held(data_dir):
        raise _held(data_dir)


def _held(data_dir: Path) -> CommandError:
    holder = next(iter(read(data_dir)), None)
    return CommandError(
        f"`closeout up` runs on {data_dir} already{f', process {holder.pid}' if holder else ''};"
        f" stop it with `closeout down --data-dir {data_dir}`, or name another folder"
    )


def read(data_dir: Path) -> list[KnownProcess]:
    """Return the recorded processes, ``closeout up`` first; none if nothing is recorded.

    Raises:
        CommandError: the record can't be read.
    """
    try:
        text = (data_dir / _NAME).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CommandError(f"{data_dir / _NAME}: {error.strerror}") from error
    entries: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):  # it is just being written
        entries = json.loads(text)
    return [KnownProcess(**entry) for entry in entries]


def is_held(data_dir: Path) -> bool:
    """Return whether a ``closeout up`` holds the folder now."""
    try:
        file = (data_dir / _NAME).open()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CommandError(f"{data_dir / _NAME}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
