"""Any sequence of calls, streams and restarts, against a model, through gRPC: S1, S2, S4, S5, S6.

Hypothesis runs in a thread and has the loop of the tests do what it thought of, so
service and client are what they are everywhere else.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, settings
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

from closeout.aio import StatusClient
from closeout.errors import AlreadyExistsError, ClientError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.modelled_streams import STATES, ModelledStreams, batch_reported
from integration.restartable import Restartable, restartable
from integration.status_model import CampaignModel, RefusedError
from integration.status_support import reporting
from status_service.domain import OPEN, TERMINAL, Outcome, State

_LARGEST = 12
_STEPS = 20
_STREAMS = 3
#: What is the matter with a campaign that is whole, by its state.
_DIAGNOSES = dict.fromkeys(State, pb.CampaignDiagnosis.DIAGNOSIS_UNSPECIFIED) | {
    State.SENDING: pb.CampaignDiagnosis.IN_PROGRESS,
    State.PAUSED: pb.CampaignDiagnosis.PAUSED,
}
_DUE = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

outcomes = st.sampled_from([int(outcome) for outcome in Outcome])
_known = st.sampled_from(["", "current", "stale"])
#: Mostly of the small campaigns that there are, so that results repeat, raise and come late.
_sequences = st.one_of(st.integers(1, 3), st.integers(1, 4), st.integers(0, _LARGEST + 1))
rows = st.lists(st.tuples(_sequences, outcomes), max_size=5)


class StatusMachine(RuleBasedStateMachine):
    """The service through its calls, beside the model."""

    names = Bundle("names")
    frames = st.lists(st.tuples(st.integers(0, _STREAMS - 1), names, rows), min_size=1, max_size=6)

    def __init__(self, service: Restartable, late: set[tuple[str, int]], prefix: str) -> None:
        super().__init__()
        self.service = service
        self.run = service.run
        self.late = late
        self.prefix = prefix
        self.models: dict[str, CampaignModel] = {}
        self.revisions: dict[str, dict[int, int]] = {}
        self.complete_times: dict[str, Any] = {}
        self.streams = ModelledStreams(self.models)
        self.watched: tuple[str, asyncio.Task[list[pb.Campaign]]] | None = None

    @property
    def client(self) -> StatusClient:
        """The client of the service as it runs now."""
        return self.service.status.client

    def agree(self, model: Callable[[], bool], call: Coroutine[Any, Any, Any]) -> None:
        """Make a call; it transitions, does not, or is refused as the model says."""
        expected: bool | str
        try:
            expected = model()
        except RefusedError as refused:
            expected = refused.reason
        try:
            found = self.run(call).transitioned
        except ClientError as error:
            found = error.reason
        assert found == expected

    @initialize(target=names, total=st.integers(1, 4), hours=st.sampled_from([0, 0, 1]))
    def first(self, total: int, hours: int) -> str:
        """Begin with a small campaign that is sealed, so that many ends are reached."""
        name = self._created({"campaign_id": f"{self.prefix}-0"})
        self.start(name, total, hours)
        return name

    @precondition(lambda self: len(self.models) < 3)
    @rule(target=names, with_id=st.booleans())
    def create(self, with_id: bool) -> str:  # noqa: FBT001
        """Register another campaign, by its id or by that of the request."""
        name = f"{self.prefix}-{len(self.models)}"
        if with_id:
            return self._created({"campaign_id": name})
        return self._created({"request_id": str(uuid.uuid5(uuid.NAMESPACE_URL, name))})

    def _created(self, key: dict[str, str]) -> str:
        answers = [self.run(self.client.create_campaign(**key)) for _ in range(2)]
        assert [answer.created for answer in answers] == [True, False]
        with pytest.raises(AlreadyExistsError):
            self.run(self.client.create_campaign(**key, channel="another"))
        name: str = answers[0].campaign.campaign_id
        assert name == key.get("campaign_id", name)
        self.models[name] = CampaignModel()
        return name

    @rule(name=names, total=st.integers(0, _LARGEST), hours=st.integers(0, 2))
    def start(self, name: str, total: int, hours: int, *, now: bool = False) -> None:
        """Seal and start, now or later, perhaps with another total than before."""
        due = _DUE + timedelta(hours=hours) if hours else None
        self.agree(
            lambda: self.models[name].start(total, hours, now=now),
            self.client.start_campaign(
                campaign_id=name, total=total, start_time=due, start_now=now
            ),
        )

    @rule(name=names, hours=st.sampled_from([0, 1, 2, None]))
    def start_again(self, name: str, hours: int | None) -> None:
        """Start what may be scheduled or started already; None: now."""
        self.start(name, self.models[name].total or 1, hours or 0, now=hours is None)

    def given(self, name: str, revision: str) -> tuple[int, bool]:
        """Return a revision to give, and whether it is the current one or none."""
        revisions = self.revisions[name]
        current = revisions[self.models[name].version]
        number = {"": 0, "current": current, "stale": min(revisions.values())}[revision]
        return number, number in {0, current}

    @rule(
        name=names,
        wanted=st.sampled_from([State.PAUSED, State.SENDING, State.CANCELLED]),
        revision=_known,
    )
    def change(self, name: str, wanted: State, revision: str = "") -> None:
        """Pause, resume or cancel, perhaps knowing an older state."""
        number, current = self.given(name, revision)
        call = {
            State.PAUSED: self.client.pause_campaign,
            State.SENDING: self.client.resume_campaign,
            State.CANCELLED: self.client.cancel_campaign,
        }[wanted]
        self.agree(
            lambda: self.models[name].change(wanted, current=current),
            call(campaign_id=name, revision=number),
        )

    @rule(name=names, force=st.booleans(), dry_run=st.booleans(), revision=_known)
    def mark_complete(self, name: str, force: bool, dry_run: bool, revision: str) -> None:  # noqa: FBT001
        """Complete by hand, perhaps by force, in a dry run, or knowing an older state."""
        number, current = self.given(name, revision)
        self.agree(
            lambda: self.models[name].mark_complete(force=force, dry_run=dry_run, current=current),
            self.client.mark_complete(
                campaign_id=name, reason="x", force=force, dry_run=dry_run, revision=number
            ),
        )

    @rule(reported=frames, together=st.booleans())
    def report(self, reported: list[tuple[int, str, Any]], together: bool) -> None:  # noqa: FBT001
        """Report frames on several streams, one after the other or all at once."""
        self.run(self.streams.report(self.client, reported, together=together))

    @rule(number=st.integers(0, _STREAMS - 1), name=names, given=rows)
    def report_one(self, number: int, name: str, given: Any) -> None:
        """Report one frame."""
        self.report([(number, name, given)], together=False)

    @rule(reported=st.dictionaries(names, rows, min_size=1, max_size=3))
    def report_batch(self, reported: dict[str, Any]) -> None:
        """Report results of several campaigns in one call, each applied or refused."""
        self.run(batch_reported(self.client, self.models, reported))

    @rule(name=names, outcome=outcomes)
    def report_the_rest(self, name: str, outcome: int) -> None:
        """Report what is missing, a frame for each, so that campaigns do end."""
        rest = [
            (number % _STREAMS, name, [(number, outcome)]) for number in self.models[name].missing
        ]
        self.run(self.streams.report(self.client, rest, together=True))

    @rule(name=names)
    def subscribe(self, name: str) -> None:
        """Subscribe a new stream by a frame without results: it receives how things are."""

        async def subscribed() -> None:
            async with reporting(self.client) as stream:
                await stream.send(name)
                await stream.until(lambda: stream.states)
            model = self.models[name]
            first = next(state for answer in stream.responses for state in answer.campaign_states)
            assert (first.state, first.processed) == (STATES[model.state], len(model.stored))

        self.run(subscribed())

    @precondition(lambda self: self.watched is None)
    @rule(name=names)
    def watch(self, name: str) -> None:
        """Watch a campaign to its end."""
        address = self.service.status.address

        async def watched() -> list[pb.Campaign]:
            async with (
                StatusClient(address) as client,
                aclosing(client.watch_campaign(campaign_id=name)) as snapshots,
            ):
                return [snapshot async for snapshot in snapshots]

        async def begun() -> asyncio.Task[list[pb.Campaign]]:
            return asyncio.create_task(watched())

        self.watched = name, self.run(begun())

    @rule()
    def restart(self) -> None:
        """Stop the service and start it: watches end with an error, and reporters come again."""
        self.run(self.streams.close())
        if self.watched is not None and self.models[self.watched[0]].state in TERMINAL:
            self.run(self._watched())
        self.run(self.service.restart())
        if self.watched is not None:
            with pytest.raises(UnavailableError):
                self.run(self._watched())

    @rule(name=st.one_of(st.none(), names), dry_run=st.booleans())
    def repair(self, name: str | None, dry_run: bool) -> None:  # noqa: FBT001
        """Repair one or all campaigns that are whole: L1, nothing is found."""
        answer = self.run(self.client.repair_campaigns(campaign_id=name or "", dry_run=dry_run))
        expected = {
            one: _DIAGNOSES[model.state]
            for one, model in self.models.items()
            if name == one or (name is None and model.state in OPEN)
        }
        assert {one.campaign.campaign_id: one.diagnosis for one in answer.diagnoses} == expected
        assert (answer.repaired_campaigns, answer.attention_campaigns) == (0, 0)

    @rule(name=names, drift=st.tuples(*[st.integers(0, _LARGEST)] * 4))
    def drift_by_hand(self, name: str, drift: tuple[int, ...]) -> None:
        """Write wrong counters into an open campaign by hand: repair counts again."""
        model = self.models[name]
        if model.state not in OPEN:
            return
        left, counters = model.total or 0, []
        for number in drift:  # the table takes no more than the total
            counters.append(min(number, left))
            left -= counters[-1]
        self.service.status.execute(
            "UPDATE campaigns SET sent = ?, failed = ?, skipped = ?, unknown = ?"
            " WHERE campaign_id = ?",
            *counters,
            name,
        )
        if counters != [model.counters[key] for key in ("sent", "failed", "skipped", "unknown")]:
            model.repaired()
        self.run(self.client.repair_campaigns(campaign_id=name))

    @rule(name=names)
    def reopen_by_hand(self, name: str) -> None:
        """Set a completed campaign back by hand: repair completes it again, without an event."""
        model = self.models[name]
        if model.state is not State.COMPLETED:
            return
        self.service.status.execute(
            "UPDATE campaigns SET state = 'SENDING' WHERE campaign_id = ?", name
        )
        model.repaired()
        self.run(self.client.repair_campaigns(campaign_id=name))

    @invariant()
    def everybody_knows_what_is_so(self) -> None:
        """The campaigns are what the model says, and the streams that report to them know."""
        self.run(self._agrees())

    async def _agrees(self) -> None:
        for name, model in self.models.items():
            campaign = await self.client.get_campaign(campaign_id=name)
            assert campaign.state == STATES[model.state]
            assert (campaign.sealed, campaign.total) == (model.total is not None, model.total or 0)
            assert {key: getattr(campaign, key) for key in model.counters} == model.counters
            revisions = self.revisions.setdefault(name, {})
            assert revisions.setdefault(model.version, campaign.revision) == campaign.revision
            assert campaign.revision == max(revisions.values()), "S16"
            assert len(set(revisions.values())) == len(revisions), "S16"
            assert campaign.HasField("complete_time") == (model.state is State.COMPLETED), "S5"
            if model.state is State.COMPLETED:
                time = self.complete_times.setdefault(name, campaign.complete_time)
                assert campaign.complete_time == time, "S5"
        await self.streams.know()

    def teardown(self) -> None:
        """End what is open, and compare all that is stored."""
        for name, model in self.models.items():
            if model.state not in TERMINAL:
                self.change(name, State.CANCELLED)
        self.run(self._ended())

    async def _watched(self) -> None:
        """Wait for the end of what is watched: it received how the campaign ended."""
        assert self.watched is not None
        name, watcher = self.watched
        self.watched = None
        *_, last = await watcher
        assert last.state == STATES[self.models[name].state]

    async def _ended(self) -> None:
        await self.streams.close()
        if self.watched is not None:
            await self._watched()
        for name, model in self.models.items():
            results = self.client.list_results(campaign_id=name, page_size=5)
            assert {one.sequence: one.outcome async for one in results} == model.stored
            trail = self.client.list_transitions(campaign_id=name, page_size=2)
            assert [one.to_state async for one in trail] == [STATES[s] for s in model.trail], "S6"
            self.late |= {(name, sequence) for sequence in model.raised_late}


async def test_s1_to_s6_whatever_is_called_in_whatever_order(
    database: Database, machine_examples: int
) -> None:
    """Sequences of calls, reports and restarts: answers are the model's, and S1 to S6 hold."""
    late: set[tuple[str, int]] = set()
    examples = itertools.count()
    async with restartable(database) as service:
        await asyncio.to_thread(
            run_state_machine_as_test,
            lambda: StatusMachine(service, late, f"example-{next(examples)}"),
            # Nothing is made smaller: what fails is short, and a try takes long.
            settings=settings(
                stateful_step_count=_STEPS,
                max_examples=machine_examples,
                phases=[Phase.generate],
            ),
        )
        service.status.check_invariants(raised_late=late)
