"""Any sequence of calls and faults, against a model, on a real database; S1 to S6 after each."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import timedelta
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
    run_state_machine_as_test,
)

from integration.databases import Database
from integration.status_support import check_invariants
from service_runtime.caller import Caller
from service_runtime.database import Store
from service_runtime.errors import ServiceError
from status_service import campaigns, ledger, repair
from status_service.domain import OPEN, TERMINAL, Diagnosis, Outcome, State
from status_service.schema import metadata

T = TypeVar("T")
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


class Books:
    """A new organisation in a database that examples share: each begins with nothing."""

    _numbers = itertools.count(1)

    def __init__(self, database: Database) -> None:
        self.caller = Caller(f"organisation-{next(self._numbers)}", "tester")
        self.by_hand = database.connect()
        self.refused = database.IntegrityError
        self._engine = database.engine()
        # Hypothesis makes thousands of transactions; nothing crashes here.
        sa.event.listen(self._engine, "connect", lambda raw, _: raw.execute(database.hurry))

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction as the service does."""
        with self._engine.begin() as connection:
            return work(connection)

    def key(self, name: str) -> ledger.CampaignKey:
        """Return what the ledger calls a campaign."""
        return ledger.CampaignKey(self.caller.organisation, name)

    def rows(self, columns: str, order: str = "campaign") -> list[Any]:
        """Return columns of the campaigns of this organisation and of their results."""
        return self.by_hand.execute(  # type: ignore[no-any-return]
            f"SELECT {columns} FROM campaigns LEFT JOIN results USING (campaign)"  # noqa: S608
            f" WHERE organisation = ? ORDER BY {order}",
            (self.caller.organisation,),
        ).fetchall()

    def check(self, raised_late: Collection[tuple[str, int]] = ()) -> None:
        """Check what must hold."""
        check_invariants(
            self.by_hand, raised_late=raised_late, organisation=self.caller.organisation
        )

    def close(self) -> None:
        """Close the connections."""
        self.by_hand.close()
        self._engine.dispose()


@pytest.fixture(scope="module")
def tables(lasting_database: Database) -> Database:
    """The tables of the service in a database that all examples share."""
    Store(lasting_database.url, metadata, holder="test").close()
    return lasting_database


class Ledger(RuleBasedStateMachine):
    """The real functions on a real database beside the model."""

    names = Bundle("names")

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.model: dict[str, Campaign] = {}
        self.books = Books(database)

    def teardown(self) -> None:
        """Close the connections."""
        self.books.close()

    def attempt(self, accepted: bool, work: Callable[[sa.Connection], T]) -> None:  # noqa: FBT001
        """Do it, and expect what the model said."""
        refused = False
        try:
            self.books.write(work)
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
                connection,
                self.books.caller,
                campaign_id=name,
                request_id="",
                display_name="",
                channel="",
            ),
        )
        return name

    @rule(name=names, total=st.integers(0, _LARGEST))
    def start(self, name: str, total: int) -> None:
        """Seal and start, perhaps a second time."""
        self.attempt(
            self.model[name].start(total),
            lambda connection: campaigns.start(
                connection, self.books.caller, name, total=total, start_time=None
            ),
        )

    @rule(name=names, reported=frames)
    def report(self, name: str, reported: list[list[tuple[int, int]]]) -> None:
        """Report frames in one transaction, with duplicates, any order, out of range, unsealed."""
        key = self.books.key(name)
        recorded = self.books.write(
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
            lambda connection: campaigns.change_state(
                connection, self.books.caller, name, state, reason=""
            ),
        )

    @rule(name=names, force=st.booleans())
    def mark_complete(self, name: str, force: bool) -> None:  # noqa: FBT001
        """Complete by hand, perhaps by force."""
        self.attempt(
            self.model[name].mark_complete(force=force),
            lambda connection: campaigns.mark_complete(
                connection,
                self.books.caller,
                name,
                reason="x",
                force=force,
                dry_run=False,
                etag="",
            ),
        )

    @rule(name=names)
    def repair(self, name: str) -> None:
        """Repair what is whole: L1, nothing is found."""
        found = self._repair(name)
        assert not found.repaired
        assert (found.diagnosis is None) == (self.model[name].state not in OPEN)

    def _repair(self, name: str) -> repair.Finding:
        key = self.books.key(name)
        return self.books.write(
            lambda connection: repair.repair(connection, key, _THRESHOLD, actor="repair")
        )

    @precondition(lambda self: any(campaign.state in OPEN for campaign in self.model.values()))
    @rule(name=names, drift=st.tuples(*[st.integers(0, _LARGEST)] * 4))
    def drift_by_hand(self, name: str, drift: tuple[int, ...]) -> None:
        """Write wrong counters into an open campaign by hand; repair counts anew."""
        campaign = self.model[name]
        if campaign.state not in OPEN:
            return
        with contextlib.suppress(self.books.refused):  # more than the total
            self._change_by_hand("sent = ?, failed = ?, skipped = ?, unknown = ?", name, *drift)
        assert self._repair(name).diagnosis in {*Diagnosis}
        assert not self._repair(name).repaired

    @rule(name=names)
    def reopen_by_hand(self, name: str) -> None:
        """Set a completed campaign back by hand; repair completes it again, once."""
        if self.model[name].state is not State.COMPLETED:
            return

        before = self.books.rows("campaign_id, complete_time")
        self._change_by_hand("state = 'SENDING'", name)
        assert self._repair(name).diagnosis is Diagnosis.FULLY_PROCESSED
        assert self.books.rows("campaign_id, complete_time") == before, "S5"

    def _change_by_hand(self, change: str, name: str, *values: int) -> None:
        self.books.by_hand.execute(
            f"UPDATE campaigns SET {change} WHERE organisation = ? AND campaign_id = ?",  # noqa: S608
            (*values, self.books.caller.organisation, name),
        )

    @invariant()
    def what_must_hold_holds(self) -> None:
        """The database keeps S1 to S6 and is what the model says."""
        late = {
            (name, sequence)
            for name, campaign in self.model.items()
            for sequence in campaign.raised_late
        }
        self.books.check(raised_late=late)
        found: dict[str, tuple[str, int | None, dict[int, int]]] = {}
        for name, state, total, sequence, outcome in self.books.rows(
            "campaign_id, state, total, sequence, outcome"
        ):
            _, _, stored = found.setdefault(name, (state, total, {}))
            if sequence is not None:
                stored[sequence] = outcome
        assert found == {
            name: (campaign.state.value, campaign.total, campaign.stored)
            for name, campaign in self.model.items()
        }


class TestS1ToS6:
    """The ledger does what the model says."""

    def test_they_hold_after_any_sequence_of_calls_and_faults(self, tables: Database) -> None:
        """Whatever is called, repeated or broken by hand."""
        run_state_machine_as_test(lambda: Ledger(tables), settings=settings(stateful_step_count=25))


@pytest.mark.parametrize("together", [True, False], ids=["one-frame", "a-frame-each"])
def test_s2_every_merge_of_up_to_three_results(tables: Database, together: bool) -> None:  # noqa: FBT001
    """Whatever up to three outcomes a message gets in whatever order, the highest stays."""
    orders = [order for length in (1, 2, 3) for order in itertools.product(Outcome, repeat=length)]
    steps = [
        [(sequence, order[step]) for sequence, order in enumerate(orders, 1) if len(order) > step]
        for step in range(3)
    ]
    parts = [list(itertools.chain(*steps))] if together else steps
    with closing(Books(tables)) as books:
        _report(books, "a", parts, total=len(orders), together=True)
        stored = books.rows("outcome", order="sequence")
        assert [one[0] for one in stored] == [max(order) for order in orders]
        books.check()


_TOTAL = 12
reports = st.lists(st.tuples(st.integers(1, _TOTAL), outcomes), min_size=1, max_size=40)


@given(reported=reports, data=st.data())
def test_s2_any_split_order_and_repetition_ends_in_the_same_rows(
    tables: Database, reported: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Results sent once in order, or repeated, shuffled and cut anyhow, leave the same behind."""
    repeated = reported + data.draw(st.lists(st.sampled_from(reported), max_size=20))
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(shuffled)), max_size=6)))
    edges = list(zip([0, *cuts], [*cuts, len(shuffled)], strict=True))
    together = data.draw(st.booleans())  # in one transaction, or in one each
    with closing(Books(tables)) as books:
        for name, parts in {
            "once": [reported],
            "anyhow": [shuffled[first:last] for first, last in edges],
        }.items():
            _report(books, name, parts, total=_TOTAL, together=together)
        rows = books.rows(
            "campaign_id, state, sent, failed, skipped, unknown, sequence, outcome",
            order="sequence",
        )
        found = {
            name: [tuple(row)[1:] for row in rows if row["campaign_id"] == name]
            for name in ("once", "anyhow")
        }
        assert found["once"] == found["anyhow"]
        assert {one[5]: one[6] for one in found["once"]} == {
            sequence: max(outcome for other, outcome in reported if other == sequence)
            for sequence, _ in reported
        }
        books.check(raised_late=[(n, s) for n in found for s, _ in reported])


def _report(
    books: Books, name: str, parts: list[list[tuple[int, int]]], *, total: int, together: bool
) -> None:
    key = books.key(name)
    parsed = [ledger.Frame(key, "tester", [result(*one) for one in part]) for part in parts]

    def prepared(connection: sa.Connection) -> None:
        campaigns.create(
            connection, books.caller, campaign_id=name, request_id="", display_name="", channel=""
        )
        campaigns.start(connection, books.caller, name, total=total, start_time=None)

    books.write(prepared)
    for batch in [parsed] if together else [[frame] for frame in parsed]:
        recorded = books.write(lambda connection, batch=batch: ledger.record(connection, batch))
        assert all(receipt.error is None for receipt in recorded.receipts)
