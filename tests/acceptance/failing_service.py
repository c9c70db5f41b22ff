"""The real status service with injected faults, in place of ``python -m status_service``.

No part of it is replaced. Hooks around SQLAlchemy's calls into the driver and around
the answers on a stream look for the faults that :mod:`acceptance.failpoints` names.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.engine.default import DefaultDialect

from acceptance.failpoints import FIRED, TRACE, Failpoint, Fault, When, fired, step_of
from closeout.status.v1 import status_pb2
from service_runtime import copying
from status_service import __main__ as status_main
from status_service.campaigns import mark_complete
from status_service.campaigns.types import Changed
from status_service.grpc_api import servicer
from status_service.recording import ahead, ledger
from status_service.recording.types import Frame, Recorded
from status_service.retention import deletion, removal, sweeper
from status_service.retention.deletion import Deleted
from status_service.retention.removal import Step

_FOREVER_SECONDS = 3_600.0
#: How often something to remove is looked for, seconds.
_LOOK_SECONDS = 0.05


class Faults:
    """The requested faults: each happens once, over all starts in this folder."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / FIRED).open("a")
        self._fired = set(fired(folder))
        self._transaction = threading.local()

    def begin(self, codes: Iterable[str]) -> None:
        """Remember the faults requested for this thread's transaction."""
        self._transaction.codes = self.pending(codes)

    def end(self) -> None:
        """Forget them: the transaction is over."""
        self._transaction.codes = set()

    def pending(self, codes: Iterable[str]) -> set[str]:
        """Return those of ``codes`` that request a fault which has not happened yet."""
        return {
            code
            for code in set(codes) - self._fired
            if code == TRACE or Failpoint.of(code) is not None
        }

    def passing(self, when: When, step: str, connection: Any = None) -> None:
        """Inject the faults requested for this thread's transaction at this point."""
        self.strike(getattr(self._transaction, "codes", set()), when, step, connection)

    def strike(self, codes: set[str], when: When, step: str, connection: Any = None) -> None:
        """Inject the faults that ``codes`` request at this point."""
        if TRACE in codes and when is When.AFTER:
            self._note(f"{TRACE} {step}")
        for code in self.pending(codes):
            point = Failpoint.of(code)
            if point is not None and (point.when, point.step) == (when, step):
                self._note(code)
                self._inject(point, connection)

    def _note(self, line: str) -> None:
        self._fired.add(line)
        self._file.write(f"{line}\n")
        self._file.flush()

    def _inject(self, point: Failpoint, connection: Any) -> None:
        if point.fault is Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif point.fault is Fault.HANG:
            time.sleep(_FOREVER_SECONDS)
        elif connection is None:
            raise ConnectionResetError("the stream is lost")
        else:
            _lose(connection)


def _lose(connection: Any) -> NoReturn:
    """Fail like the driver when it loses its database."""
    connection = getattr(connection, "driver_connection", connection)
    if isinstance(connection, dbapi2.Connection):
        raise dbapi2.OperationalError("disk I/O error")
    assert isinstance(connection, psycopg.Connection)
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    connection.execute("SELECT 1")  # the driver notices the loss
    raise AssertionError("the connection works although it was cut")


def _watch_transactions(faults: Faults) -> None:
    record, complete = ledger.record, mark_complete.complete
    blocks = count(1)

    def recorded(connection: sa.Connection, frames: Sequence[Frame], **options: Any) -> Recorded:
        faults.begin(code for frame in frames for code in frame.results.code)
        return record(connection, frames, **options)

    def marked(*arguments: Any, reason: str, **options: Any) -> Changed:
        number, _, code = reason.rpartition(": ")
        block = f"block {next(blocks)}"
        if number in {"", block}:
            faults.begin([code])
        return complete(*arguments, reason=reason, **options)

    ledger.record = recorded
    mark_complete.complete = marked

    def executing(name: str) -> None:
        def execute(cursor: Any, statement: str, *rest: Any) -> bool:
            step = step_of(statement)
            faults.passing(When.BEFORE, step, cursor.connection)
            if not (name == "do_execute" and copying.execute(cursor, statement, *rest)):
                getattr(cursor, "executemany" if name == "do_executemany" else "execute")(
                    statement, *rest[:-1]
                )
            faults.passing(When.AFTER, step, cursor.connection)
            return True  # done: SQLAlchemy skips its call

        sa.event.listen(DefaultDialect, name, execute)

    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        executing(name)

    def ending(name: str, step: str) -> None:
        end = getattr(DefaultDialect, name)

        def ended(dialect: DefaultDialect, connection: Any) -> None:
            try:
                faults.passing(When.BEFORE, step, connection)
                end(dialect, connection)
                faults.passing(When.AFTER, step, connection)
            finally:
                faults.end()

        setattr(DefaultDialect, name, ended)

    ending("do_commit", "commit")
    ending("do_rollback", "rollback")


def _watch_removals(faults: Faults, removing: str) -> None:
    delete, step = deletion.delete, removal.step
    blocks = count(1)
    wanted, _, code = removing.partition(": ")

    def deleted(connection: sa.Connection, *, reason: str, **options: Any) -> Deleted:
        faults.begin([reason])
        return delete(connection, reason=reason, **options)

    def stepped(*arguments: Any, **options: Any) -> Step:
        if f"block {next(blocks)}" == wanted:
            faults.begin([code])
        return step(*arguments, **options)

    deletion.delete = deleted
    removal.step = stepped


class _Answers:
    """The context of a call, with faults around its answers."""

    def __init__(self, context: Any, faults: Faults, requested: dict[int, set[str]]) -> None:
        self._context = context
        self._faults = faults
        self._requested = requested

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, response: status_pb2.ReportResultsResponse) -> None:
        """Answer, with the faults that the acknowledged frames request."""
        acked = [frame for frame in self._requested if frame <= response.acked_through]
        codes = set().union(*(self._requested.pop(frame) for frame in acked))
        self._faults.strike(codes, When.BEFORE, "acknowledge")
        await self._context.write(response)
        self._faults.strike(codes, When.AFTER, "acknowledge")


def _watch_streams(faults: Faults) -> None:
    serve = servicer.StatusServicer.ReportResults

    async def report_results(
        service: servicer.StatusServicer, requests: AsyncIterator[Any], context: Any
    ) -> None:
        requested: dict[int, set[str]] = {}

        async def inspected() -> AsyncIterator[Any]:
            async for request in requests:
                if codes := faults.pending(result.code for result in request.results):
                    requested[request.frame] = codes
                yield request

        await serve(service, inspected(), _Answers(context, faults, requested))

    servicer.StatusServicer.ReportResults = report_results


def main(block: int = mark_complete.BLOCK, removing: str = "") -> int:
    """Run the service in this folder, with faults; return the exit code of the process.

    Args:
        block: messages that a completion by force records in one transaction, and results
            that a removal removes.
        removing: the fault of a removal, with its block: ``block 2: kill before commit``.
    """
    ahead.LEAST = 1  # as few results as a frame has
    mark_complete.BLOCK = removal.RESULTS_AT_ONCE = block
    sweeper.LOOK_SECONDS = _LOOK_SECONDS
    faults = Faults(Path.cwd())
    _watch_transactions(faults)
    _watch_removals(faults, removing)
    _watch_streams(faults)
    return status_main.main()
