"""Results that are copied before their campaign is locked: nothing is decided without the lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from integration.databases import PATIENCE_SECONDS, PostgresqlDatabase
from integration.migrated import MigratedDatabases
from integration.status_support import check_invariants
from service_runtime.caller import Caller
from service_runtime.postgresql import postgresql_engine
from service_runtime.postgresql_signs import is_lock_timeout
from status_service.campaigns import lifecycle, registration
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.domain import Outcome, State
from status_service.recording import ahead, ledger
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, Frame, FrameReceipt

_CALLER = Caller("default", "tester")
_KEY = CampaignKey("default", "a")
_TOTAL = 6
_WAITING_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def url(status_databases: MigratedDatabases) -> Iterator[str]:
    """A database; whatever a test does to it, no row and counter of it differ."""
    url = status_databases.take()
    yield url
    with PostgresqlDatabase(url).by_hand() as connection:
        check_invariants(connection)
    status_databases.give_back(url)


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """The connections of instances, to a database with a campaign."""
    engine = postgresql_engine(
        sa.make_url(url), holder="test", isolation="READ COMMITTED", connections=3
    )
    with engine.begin() as connection:
        registration.create(connection, _CALLER, NewCampaign(_KEY.campaign_id))
        lifecycle.start(
            connection, _CALLER, _KEY.campaign_id, StartOrder(_TOTAL), largest_total=_TOTAL
        )
    yield engine
    engine.dispose()


def _frame(*sequences: int, outcome: Outcome = Outcome.SENT) -> Frame:
    rows = [(sequence, int(outcome), 1, "", "", "", None) for sequence in sequences]
    return Frame(_KEY, "tester", ResultColumns.of(rows))


def _record(connection: sa.Connection, *frames: Frame, copy_ahead: bool = True) -> list[int]:
    """Record frames; return how many new results each had."""
    recorded = ledger.record(connection, frames, copy_ahead=copy_ahead)
    assert [receipt.error for receipt in recorded.receipts] == [None] * len(frames)
    return [receipt.new for receipt in recorded.receipts]


def _stored(engine: sa.Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM results")).scalar_one()


def test_l5_nobody_waits_for_results_that_are_copied(engine: sa.Engine) -> None:
    """Another instance locks and changes the campaign meanwhile, and counts none of them."""
    reported = [(_frame(1, 2), FrameReceipt())]
    with engine.begin() as here, engine.begin() as there:
        assert _KEY in ahead.copy(here, {_KEY: reported})
        lifecycle.change_state(
            there, caller=_CALLER, campaign_id="a", target=State.PAUSED, reason=""
        )
        assert _record(there, _frame(3)) == [1]
        there.commit()
        assert _stored(engine) == 1
        here.rollback()
    assert _stored(engine) == 1


def test_s1_what_is_copied_ahead_is_counted_under_the_lock(engine: sa.Engine) -> None:
    """Also beside results that others stored between the two."""
    before = _before_the_lock(lambda: _record_there(engine, _frame(3, 4)))
    with before, engine.begin() as here:
        assert _record(here, _frame(1), _frame(2, outcome=Outcome.FAILED)) == [1, 1]
    with engine.begin() as connection:
        row = ledger.lock_one(connection, _KEY)
        assert (row.sent, row.failed, row.state) == (3, 1, State.SENDING)


def _record_there(engine: sa.Engine, *frames: Frame) -> None:
    with engine.begin() as there:
        _record(there, *frames, copy_ahead=False)


def _by_hand(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as there:
        there.execute(sa.text(statement))


class _before_the_lock:  # noqa: N801 - reads as a function
    """Do something, once, after results were copied and before their campaign is locked."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        lock = ledger.lock

        def changed(*args: Any, **options: Any) -> Any:
            self._patch.undo()
            self._change()
            return lock(*args, **options)

        self._patch.setattr(ledger, "lock", changed)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM campaigns", id="it is gone"),
        pytest.param("UPDATE campaigns SET campaign = campaign + 1", id="it is another one"),
        pytest.param("UPDATE campaigns SET results_remove_time = 1", id="its results are removed"),
        pytest.param("UPDATE campaigns SET total = 3", id="it has fewer messages"),
    ],
)
def test_s2_a_campaign_that_changed_meanwhile_keeps_nothing_of_a_copy(
    engine: sa.Engine, change: str
) -> None:
    """The transaction fails as a whole; what becomes of the frames is found out in order."""
    _by_hand(engine, "DELETE FROM events; DELETE FROM transitions")
    with (
        _before_the_lock(lambda: _by_hand(engine, change)),
        pytest.raises(ahead.NotAheadError),
        engine.begin() as here,
    ):
        _record(here, _frame(1, 4))
    assert _stored(engine) == 0
    _by_hand(engine, "TRUNCATE campaigns CASCADE")  # changed by hand, it is like no other


def test_s3_what_would_fill_a_campaign_is_counted_first(engine: sa.Engine) -> None:
    """Others stored the rest after the copy: the last results complete it in order, once."""
    with (
        _before_the_lock(lambda: _record_there(engine, _frame(1, 2, 3))),
        pytest.raises(ahead.NotAheadError),
        engine.begin() as here,
    ):
        _record(here, _frame(4, 5, 6))
    with engine.begin() as here:
        assert _record(here, _frame(4, 5, 6)) == [3]  # one can see that they fill it: no copy
        assert ledger.lock_one(here, _KEY).state == State.COMPLETED


def test_s2_what_others_stored_before_a_copy_is_not_copied_over(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the results is there although a look did not find it."""
    upsert = ahead.upsert

    def raced(*args: Any, **options: Any) -> None:
        monkeypatch.undo()
        _record_there(engine, _frame(2))
        upsert(*args, **options)

    monkeypatch.setattr(ahead, "upsert", raced)
    with pytest.raises(ahead.NotAheadError), engine.begin() as here:
        _record(here, _frame(1, 2))
    with engine.begin() as here:
        assert _record(here, _frame(1, 2)) == [1]


@pytest.mark.parametrize(
    ("frames", "new"),
    [
        pytest.param([_frame(1, 2), _frame(2)], [2, 0], id="a message twice"),
        pytest.param([_frame(1, 6)], [1], id="one stored already"),
    ],
)
def test_s2_what_is_not_all_new_is_recorded_in_order(
    engine: sa.Engine, frames: list[Frame], new: list[int]
) -> None:
    """Nothing is copied of it, and each message counts once."""
    _record_there(engine, _frame(6))
    with engine.begin() as here:
        assert not ahead.copy(here, {_KEY: [(frame, FrameReceipt()) for frame in frames]})
        assert _record(here, *frames) == new


def test_l5_a_copy_and_a_lock_never_wait_for_each_other(engine: sa.Engine) -> None:
    """One instance copied results, another holds the lock and stores the same: it gets through."""
    locked = threading.Event()

    def there() -> list[int]:
        with engine.begin() as connection:
            ledger.lock_one(connection, _KEY)
            locked.set()
            return _record(connection, _frame(1, 2), copy_ahead=False)

    def meet() -> None:
        stored.append(threads.submit(there))
        assert locked.wait(PATIENCE_SECONDS)
        with engine.begin() as looking:
            while not looking.execute(sa.text(_WAITING_FOR_A_LOCK)).scalar_one():
                pass

    stored: list[Any] = []
    with ThreadPoolExecutor(1) as threads:
        with (
            _before_the_lock(meet),
            pytest.raises(sa.exc.OperationalError) as raised,
            engine.begin() as here,
        ):
            _record(here, _frame(1, 2))
        assert is_lock_timeout(raised.value)
        assert stored[0].result(PATIENCE_SECONDS) == [2]
    with engine.begin() as here:
        assert _record(here, _frame(1, 2)) == [0]
