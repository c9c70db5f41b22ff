"""A machine that calls the status service in any order, and compares each answer with a model.

Hypothesis runs in a thread and has the loop of the tests do what it thought of, so
service and client are what they are everywhere else.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from closeout.aio import StatusClient
from closeout.errors import AlreadyExistsError, ClientError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.modelled_streams import STATES, ModelledStreams, batch_reported
from integration.restartable import Restartable
from integration.status_model import CampaignModel, Kind, RefusedError
from integration.status_support import reporting
from status_service.domain import OPEN, TERMINAL, Outcome, State

_LARGEST = 12
_STREAMS = 3
#: What is the matter with a campaign that is whole, by its state.
_DIAGNOSES = dict.fromkeys(State, pb.CampaignDiagnosis.DIAGNOSIS_UNSPECIFIED) | {
    State.SENDING: pb.CampaignDiagnosis.IN_PROGRESS,
    State.PAUSED: pb.CampaignDiagnosis.PAUSED,
}
_DUE = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

outcomes = st.sampled_from([int(outcome) for outcome in Outcome])
_known = st.sampled_from(["", "current", "stale"])
#: Places of messages, counted round and round the campaign: so results repeat, raise and
#: come late. WRONG is of no campaign.
_WRONG = 99
_messages = st.one_of(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0, 5, 11, _WRONG]))
rows = st.lists(st.tuples(_messages, outcomes), max_size=4)
#: Which one, of as many as there are then.
_places = st.integers(0, 99)


def better(given: list[tuple[int, int]], by: int) -> list[tuple[int, int]]:
    """Return results whose outcomes are better by so much, as far as they can be."""
    return [(sequence, min(outcome + by, int(Outcome.SENT))) for sequence, outcome in given]


class StatusMachine(RuleBasedStateMachine):
    """The service through its calls, beside the model."""

    names = Bundle("names")
    frames = st.lists(st.tuples(st.integers(0, _STREAMS - 1), names, rows), min_size=1, max_size=6)

    def __init__(
        self,
        service: Restartable,
        late: set[tuple[str, int]],
        made: Counter[Kind],
        prefix: str,
    ) -> None:
        super().__init__()
        self.made = made
        #: Every frame that was sent, as (campaign, its results).
        self.sent: list[tuple[str, Any]] = []
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

    @initialize(target=names, total=st.integers(1, 4), times=st.sampled_from([[], [1], [2, 0, 1]]))
    def first(self, total: int, times: list[int]) -> str:
        """Begin with a small campaign that is sealed, so that many ends are reached.

        It begins now, or is scheduled, and perhaps keeps its time and is moved.
        """
        name = self._created({"campaign_id": f"{self.prefix}-0"})
        for hours in times or [0]:
            self.start(name, total, hours)
        return name

    @precondition(lambda self: len(self.models) < 3)
    @rule(
        target=names,
        with_id=st.booleans(),
        total=st.sampled_from([None, 0, 3]),
        hours=st.sampled_from([0, 0, 1]),
    )
    def create(self, with_id: bool, total: int | None, hours: int) -> str:  # noqa: FBT001
        """Register another campaign, by its id or by that of the request; perhaps start it."""
        name = f"{self.prefix}-{len(self.models)}"
        by_request = {"request_id": str(uuid.uuid5(uuid.NAMESPACE_URL, name))}
        name = self._created({"campaign_id": name} if with_id else by_request)
        if total is not None:
            self.start(name, total, hours)
        return name

    def _created(self, key: dict[str, str]) -> str:
        answers = [self.run(self.client.create_campaign(**key)) for _ in range(2)]
        assert [answer.created for answer in answers] == [True, False]
        with pytest.raises(AlreadyExistsError):
            self.run(self.client.create_campaign(**key, channel="another"))
        name: str = answers[0].campaign.campaign_id
        assert name == key.get("campaign_id", name)
        self.models[name] = CampaignModel(self.made)
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

    @precondition(lambda self: self.in_state(State.SCHEDULED))
    @rule(which=_places, hours=st.integers(1, 3))
    def move(self, which: int, hours: int) -> None:
        """Move a scheduled campaign to another time, or to the one it has."""
        names = self.in_state(State.SCHEDULED)
        self.start_again(names[which % len(names)], hours)

    @precondition(lambda self: self.in_state(*TERMINAL))
    @rule(which=_places, hours=st.integers(0, 2))
    def start_ended(self, which: int, hours: int) -> None:
        """Start a campaign that has ended."""
        names = self.in_state(*TERMINAL)
        self.start_again(names[which % len(names)], hours)

    def in_state(self, *states: State) -> list[str]:
        """Return the campaigns that are in one of these states."""
        return [name for name, model in self.models.items() if model.state in states]

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

    @rule(
        name=names,
        force=st.sampled_from([True, True, False]),
        dry_run=st.sampled_from([False, False, True]),
        revision=_known,
    )
    def mark_complete(self, name: str, force: bool, dry_run: bool, revision: str) -> None:  # noqa: FBT001
        """Complete by hand, perhaps by force, in a dry run, or knowing an older state."""
        number, current = self.given(name, revision)
        self.agree(
            lambda: self.models[name].mark_complete(force=force, dry_run=dry_run, current=current),
            self.client.mark_complete(
                campaign_id=name, reason="x", force=force, dry_run=dry_run, revision=number
            ),
        )

    @precondition(lambda self: any(self.models[name].missing for name in self.in_state(*OPEN)))
    @rule(which=_places)
    def force(self, which: int) -> None:
        """Complete a campaign by hand that lacks results."""
        names = [name for name in self.in_state(*OPEN) if self.models[name].missing]
        self.mark_complete(names[which % len(names)], force=True, dry_run=False, revision="")

    @rule(drawn=frames, together=st.booleans(), again=st.sampled_from([None, 0, 1]))
    def report(
        self,
        drawn: list[tuple[int, str, Any]],
        together: bool,  # noqa: FBT001
        again: int | None,
    ) -> None:
        """Report frames on several streams, in order or all at once.

        Perhaps they come again, the last one first, on other streams, with outcomes that
        are better by so much.
        """
        reported = [(number, name, self.fitted(name, given)) for number, name, given in drawn]
        self._report(reported, together=together)
        if again is not None:
            self._report(
                [
                    ((number + 1) % _STREAMS, name, better(given, again))
                    for number, name, given in reversed(reported)
                ]
            )

    def _report(self, reported: list[Any], *, together: bool = False) -> None:
        self.sent += [(name, given) for _, name, given in reported if given]
        self.run(self.streams.report(self.client, reported, together=together))

    def fitted(self, name: str, given: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return results as of a campaign, by the places of their messages."""
        total = self.models[name].total or 1
        return [
            (total + 1 if place == _WRONG else place % total + 1, outcome)
            for place, outcome in given
        ]

    @precondition(lambda self: self.sent)
    @rule(number=st.integers(0, _STREAMS - 1), which=_places)
    def report_again(self, number: int, which: int) -> None:
        """Report a frame a second time, on this stream or another, however long ago it was."""
        name, given = self.sent[which % len(self.sent)]
        self._report([(number, name, given)])

    @precondition(lambda self: self.doubtful())
    @rule(number=st.integers(0, _STREAMS - 1), which=_places, by=st.integers(1, 3))
    def report_better(self, number: int, which: int, by: int) -> None:
        """Report a better outcome of a message that has one, ended or not."""
        doubtful = self.doubtful()
        name, *stored = doubtful[which % len(doubtful)]
        self._report([(number, name, better([tuple(stored)], by))])

    def doubtful(self) -> list[tuple[str, int, int]]:
        """Return the messages whose outcome can get better."""
        return [
            (name, sequence, outcome)
            for name, model in self.models.items()
            for sequence, outcome in model.stored.items()
            if outcome < Outcome.SENT
        ]

    @precondition(lambda self: self.in_state(*TERMINAL))
    @rule(number=st.integers(0, _STREAMS - 1), which=_places, given=rows)
    def report_late(self, number: int, which: int, given: Any) -> None:
        """Report to a campaign that has ended."""
        names = self.in_state(*TERMINAL)
        name = names[which % len(names)]
        self._report([(number, name, self.fitted(name, given))])

    @rule(reported=st.dictionaries(names, rows, min_size=1, max_size=3))
    def report_batch(self, reported: dict[str, Any]) -> None:
        """Report results of several campaigns in one call, each applied or refused."""
        fitted = {name: self.fitted(name, given) for name, given in reported.items()}
        self.run(batch_reported(self.client, self.models, fitted))

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
        """End what is open, let all of it go on nevertheless, and compare what is stored."""
        for name in list(self.models):
            self.change(name, State.CANCELLED, "stale")
            if self.models[name].state not in TERMINAL:
                self.change(name, State.CANCELLED)
            self._outlive(name)
        self.run(self._agrees())
        self.run(self._ended())

    def _outlive(self, name: str) -> None:
        """Start a campaign that has ended, and report what is better, what it lacks, and all."""
        model = self.models[name]
        self.start_again(name, 1)
        stored = list(model.stored.items())
        frames = [
            better(stored, 1),
            [(number, int(Outcome.FAILED)) for number in model.missing],
            stored,
        ]
        self._report([(number, name, frame) for number, frame in enumerate(frames) if frame])

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
