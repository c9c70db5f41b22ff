"""Any sequence of calls and faults, against a model, on a real database; S1 to S6 after each."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from pysqlite3 import dbapi2

from integration.status_support import check_invariants
from service_runtime.caller import Caller
from service_runtime.database import Store
from service_runtime.errors import ServiceError
from service_runtime.sqlite import sqlite_engine
from status_service import campaigns, ledger, repair
from status_service.domain import OPEN, TERMINAL, Diagnosis, Outcome, State
from status_service.schema import metadata

T = TypeVar("T")
_CALLER = Caller("default", "tester")
_LARGEST = 30
_THRESHOLD = timedelta(minutes=5)

outcomes = st.sampled_from([int(outcome) for outcome in Outcome])
frames = st.lists(
    st.lists(st.tuples(st.integers(-1, _LARGEST + 2), outcomes), max_size=12), max_size=4
)


def result(sequence: int, outcome: int) -> Any:
    """Return a result as the ledger takes it."""
    return (sequence, outcome, 1, "", "", "", None)


class Campaign:
    """The model: what a campaign must be after what was done to it."""

    def __init__(self) -> None:
        self.state = State.DRAFT
        self.total: int | None = None
        self.stored: dict[int, int] = {}
        self.raised_late: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether every message has a result."""
        return len(self.stored) == self.total

    def settle(self) -> None:
        """Complete if that is due."""
        if self.state in OPEN and self.full:
            self.state = State.COMPLETED

    def start(self, total: int) -> bool:
        """Seal and start; return False where that is refused."""
        if self.state is State.CANCELLED or self.total not in {None, total}:
            return False
        if self.state is State.DRAFT:
            self.total, self.state = total, State.SENDING
            self.settle()
        return True

    def report(self, rows: list[tuple[int, int]]) -> bool:
        """Merge a frame; return False where it is rejected as a whole."""
        if not rows:
            return True
        if self.total is None or not all(1 <= sequence <= self.total for sequence, _ in rows):
            return False
        for sequence, outcome in rows:
            before = self.stored.get(sequence, 0)
            if outcome > before:
                self.stored[sequence] = outcome
                if self.state is State.COMPLETED:
                    self.raised_late.add(sequence)
        self.settle()
        return True

    def change(self, target: State) -> bool:
        """Pause, resume or cancel; return False where that is refused."""
        allowed = {
            State.PAUSED: {State.SENDING},
            State.SENDING: {State.PAUSED},
            State.CANCELLED: set(State) - TERMINAL,
        }[target]
        if self.state is not target and self.state not in allowed:
            return False
        self.state = target
        return True

    def mark_complete(self, *, force: bool) -> bool:
        """Complete by hand; return False where that is refused."""
        if self.state is State.COMPLETED:
            return True
        if self.state not in OPEN or not (self.full or force):
            return False
        for sequence in range(1, (self.total or 0) + 1):
            self.stored.setdefault(sequence, Outcome.UNKNOWN)
        self.settle()
        return True


def _hurry(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


class Database:
    """A new database in a folder of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "status.db"
        self._store = Store(f"sqlite:///{self.path}", metadata, holder="test")
        self._engine = sqlite_engine(
            f"sqlite:///{self.path}", begin="BEGIN IMMEDIATE", connections=1
        )
        self.by_hand = dbapi2.connect(self.path, isolation_level=None)
        # Hypothesis makes thousands of transactions; no power is cut here.
        sa.event.listen(
            self._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF")
        )

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction as the service does."""
        with self._engine.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Remove it."""
        self.by_hand.close()
        self._engine.dispose()
        self._store.close()
        self._folder.cleanup()


class Ledger(RuleBasedStateMachine):
    """The real functions on a real database beside the model."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Campaign] = {}
        self.database = Database()

    def teardown(self) -> None:
        """Remove the database."""
        self.database.close()

    def attempt(self, accepted: bool, work: Callable[[sa.Connection], T]) -> None:  # noqa: FBT001
        """Do it, and expect what the model said."""
        refused = False
        try:
            self.database.write(work)
        except ServiceError:
            refused = True
        assert refused is not accepted

    @initialize(target=names, total=st.integers(1, 5))
    def first(self, total: int) -> str:
        """Begin with a small campaign that has started, so that many ends are reached."""
        name = self._create()
        self.start(name, total)
        return name

    @precondition(lambda self: len(self.model) < 3)
    @rule(target=names)
    def create(self) -> str:
        """Register another campaign."""
        return self._create()

    def _create(self) -> str:
        name = f"c{len(self.model)}"
        self.model[name] = Campaign()
        self.attempt(
            accepted=True,
            work=lambda connection: campaigns.create(
                connection, _CALLER, campaign_id=name, request_id="", display_name="", channel=""
            ),
        )
        return name

    @rule(name=names, total=st.integers(0, _LARGEST))
    def start(self, name: str, total: int) -> None:
        """Seal and start, perhaps a second time."""
        self.attempt(
            self.model[name].start(total),
            lambda connection: campaigns.start(
                connection, _CALLER, name, total=total, start_time=None
            ),
        )

    @rule(name=names, reported=frames)
    def report(self, name: str, reported: list[list[tuple[int, int]]]) -> None:
        """Report frames in one transaction, with duplicates, any order, out of range, unsealed."""
        key = ledger.CampaignKey("default", name)
        recorded = self.database.write(
            lambda connection: ledger.record(
                connection,
                [ledger.Frame(key, "tester", [result(*one) for one in rows]) for rows in reported],
            )
        )
        for receipt, rows in zip(recorded.receipts, reported, strict=True):
            assert (receipt.error is None) == self.model[name].report(rows)
            if receipt.error is None:
                assert receipt.new + receipt.raised + receipt.duplicate == len(rows)

    @rule(name=names, outcome=outcomes)
    def report_the_rest(self, name: str, outcome: int) -> None:
        """Report whatever is missing, so that campaigns do end."""
        campaign = self.model[name]
        rest = set(range(1, (campaign.total or 0) + 1)) - set(campaign.stored)
        self.report(name, [[(sequence, outcome)] for sequence in sorted(rest)])

    @rule(name=names, state=st.sampled_from([State.PAUSED, State.SENDING, State.CANCELLED]))
    def change(self, name: str, state: State) -> None:
        """Pause, resume or cancel."""
        self.attempt(
            self.model[name].change(state),
            lambda connection: campaigns.change_state(connection, _CALLER, name, state, reason=""),
        )

    @rule(name=names, force=st.booleans())
    def mark_complete(self, name: str, force: bool) -> None:  # noqa: FBT001
        """Complete by hand, perhaps by force."""
        self.attempt(
            self.model[name].mark_complete(force=force),
            lambda connection: campaigns.mark_complete(
                connection, _CALLER, name, reason="x", force=force, dry_run=False, etag=""
            ),
        )

    @rule(name=names)
    def repair(self, name: str) -> None:
        """Repair what is whole: L1, nothing is found."""
        found = self._repair(name)
        assert not found.repaired
        assert (found.diagnosis is None) == (self.model[name].state not in OPEN)

    def _repair(self, name: str) -> repair.Finding:
        key = ledger.CampaignKey("default", name)
        return self.database.write(
            lambda connection: repair.repair(connection, key, _THRESHOLD, actor="repair")
        )

    @precondition(lambda self: any(campaign.state in OPEN for campaign in self.model.values()))
    @rule(name=names, drift=st.tuples(*[st.integers(0, _LARGEST)] * 4))
    def drift_by_hand(self, name: str, drift: tuple[int, ...]) -> None:
        """Write wrong counters into an open campaign by hand; repair counts anew."""
        campaign = self.model[name]
        if campaign.state not in OPEN:
            return
        with contextlib.suppress(dbapi2.IntegrityError):  # more than the total
            self.database.by_hand.execute(
                "UPDATE campaigns SET sent = ?, failed = ?, skipped = ?, unknown = ?"
                " WHERE campaign_id = ?",
                (*drift, name),
            )
        assert self._repair(name).diagnosis in {*Diagnosis}
        assert not self._repair(name).repaired

    @rule(name=names)
    def reopen_by_hand(self, name: str) -> None:
        """Set a completed campaign back by hand; repair completes it again, once."""
        if self.model[name].state is not State.COMPLETED:
            return

        def completed() -> list[Any]:
            rows = self.database.by_hand.execute("SELECT campaign_id, complete_time FROM campaigns")
            return [tuple(one) for one in rows]

        before = completed()
        self.database.by_hand.execute(
            "UPDATE campaigns SET state = 'SENDING' WHERE campaign_id = ?", (name,)
        )
        assert self._repair(name).diagnosis is Diagnosis.FULLY_PROCESSED
        assert completed() == before, "S5"

    @invariant()
    def what_must_hold_holds(self) -> None:
        """The database keeps S1 to S6 and is what the model says."""
        late = {
            (name, sequence)
            for name, campaign in self.model.items()
            for sequence in campaign.raised_late
        }
        check_invariants(self.database.by_hand, raised_late=late)
        found = {
            campaign["campaign_id"]: (
                campaign["state"],
                campaign["total"],
                self._stored(campaign["campaign"]),
            )
            for campaign in self.database.by_hand.execute("SELECT * FROM campaigns").fetchall()
        }
        expected = {
            name: (campaign.state.value, campaign.total, campaign.stored)
            for name, campaign in self.model.items()
        }
        assert found == expected

    def _stored(self, campaign: int) -> dict[int, int]:
        rows = self.database.by_hand.execute(
            "SELECT sequence, outcome FROM results WHERE campaign = ?", (campaign,)
        )
        return dict(tuple(stored) for stored in rows)


TestS1ToS6 = Ledger.TestCase
TestS1ToS6.settings = settings(stateful_step_count=25)


@pytest.mark.parametrize("together", [True, False], ids=["one-frame", "a-frame-each"])
def test_s2_every_merge_of_up_to_three_results(together: bool) -> None:  # noqa: FBT001
    """Whatever up to three outcomes a message gets in whatever order, the highest stays."""
    orders = [order for length in (1, 2, 3) for order in itertools.product(Outcome, repeat=length)]
    steps = [
        [(sequence, order[step]) for sequence, order in enumerate(orders, 1) if len(order) > step]
        for step in range(3)
    ]
    parts = [list(itertools.chain(*steps))] if together else steps
    database = Database()
    try:
        _report(database, "a", parts, total=len(orders), together=True)
        stored = database.by_hand.execute("SELECT outcome FROM results ORDER BY sequence")
        assert [one[0] for one in stored] == [max(order) for order in orders]
        check_invariants(database.by_hand)
    finally:
        database.close()


_TOTAL = 12
reports = st.lists(st.tuples(st.integers(1, _TOTAL), outcomes), min_size=1, max_size=40)


@given(reported=reports, data=st.data())
def test_s2_any_split_order_and_repetition_ends_in_the_same_rows(
    reported: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Results sent once in order, or repeated, shuffled and cut anyhow, leave the same behind."""
    repeated = reported + data.draw(st.lists(st.sampled_from(reported), max_size=20))
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(shuffled)), max_size=6)))
    edges = list(zip([0, *cuts], [*cuts, len(shuffled)], strict=True))
    together = data.draw(st.booleans())  # in one transaction, or in one each
    database = Database()
    try:
        for name, parts in {
            "once": [reported],
            "anyhow": [shuffled[first:last] for first, last in edges],
        }.items():
            _report(database, name, parts, total=_TOTAL, together=together)
        found = {
            name: database.by_hand.execute(
                "SELECT state, sent, failed, skipped, unknown, sequence, outcome FROM campaigns"
                " JOIN results USING (campaign) WHERE campaign_id = ? ORDER BY sequence",
                (name,),
            ).fetchall()
            for name in ("once", "anyhow")
        }
        assert found["once"] == found["anyhow"]
        assert {one[5]: one[6] for one in found["once"]} == {
            sequence: max(outcome for other, outcome in reported if other == sequence)
            for sequence, _ in reported
        }
        check_invariants(database.by_hand, raised_late=[(n, s) for n in found for s, _ in reported])
    finally:
        database.close()


def _report(
    database: Database, name: str, parts: list[list[tuple[int, int]]], *, total: int, together: bool
) -> None:
    key = ledger.CampaignKey("default", name)
    parsed = [ledger.Frame(key, "tester", [result(*one) for one in part]) for part in parts]

    def prepared(connection: sa.Connection) -> None:
        campaigns.create(
            connection, _CALLER, campaign_id=name, request_id="", display_name="", channel=""
        )
        campaigns.start(connection, _CALLER, name, total=total, start_time=None)

    database.write(prepared)
    for batch in [parsed] if together else [[frame] for frame in parsed]:
        recorded = database.write(lambda connection, batch=batch: ledger.record(connection, batch))
        assert all(receipt.error is None for receipt in recorded.receipts)
