"""Any sequence of calls, streams and restarts, against a model: S1, S2, S4, S5, S6, S16."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from integration.databases import Database
from integration.restartable import restartable
from integration.status_machine import StatusMachine
from integration.status_model import Kind

_STEPS = 20
#: How often cases are made at least, in a sequence on average: about a third of what they are.
_OFTEN = {
    Kind.RAISED: 0.5,
    Kind.DUPLICATE: 2.0,
    Kind.REPEATED: 1.0,
    Kind.LATE: 1.0,
    Kind.LATE_NEW: 0.4,
    Kind.RAISED_LATE: 0.3,
    Kind.OUT_OF_RANGE: 0.3,
    Kind.RESCHEDULED: 0.1,
    Kind.SCHEDULE_KEPT: 0.1,
    Kind.FULL_BEFORE_ITS_TIME: 0.1,
    Kind.STARTED_AFTER_ITS_END: 0.7,
    Kind.STALE: 0.2,
}


async def test_s1_to_s6_whatever_is_called_in_whatever_order(
    database: Database,
    machine_examples: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Sequences of calls, reports and restarts: answers are the model's, and S1 to S6 hold.

    Cases that calls at random hardly ever make are counted, and each was made often.
    """
    late: set[tuple[str, int]] = set()
    made = Counter[Kind](dict.fromkeys(Kind, 0))
    examples = itertools.count()
    async with restartable(database) as service:
        await asyncio.to_thread(
            run_state_machine_as_test,
            lambda: StatusMachine(service, late, made, f"example-{next(examples)}"),
            # Nothing is made smaller: what fails is short, and a try takes long.
            settings=settings(
                stateful_step_count=_STEPS,
                max_examples=machine_examples,
                phases=[Phase.generate],
            ),
        )
        service.status.check_invariants(raised_late=late)
    # As plain texts: a process of tests tells the one that started it.
    record_property("made", {str(kind): times for kind, times in made.items()})
    least = {kind: machine_examples * often for kind, often in _OFTEN.items()}
    seldom = {kind: made[kind] for kind in least if made[kind] < least[kind]}
    assert not seldom, f"made too seldom: {seldom} of {dict(made)}"
