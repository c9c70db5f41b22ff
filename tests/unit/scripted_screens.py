"""Both services with fixed answers, for screens that are compared sign by sign.

They run in threads, since each command has an event loop of its own.
"""
# The methods of a servicer are named, described and typed by the contract.
# ruff: noqa: ANN001, ANN201, ARG002, D102, N802

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2_grpc import (
    SenderServiceServicer,
    add_SenderServiceServicer_to_server,
)
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1.access_pb2_grpc import add_AccessServiceServicer_to_server
from closeout.status.v1.events_pb2_grpc import add_EventServiceServicer_to_server
from closeout.status.v1.status_pb2_grpc import (
    StatusServiceServicer,
    add_StatusServiceServicer_to_server,
)
from unit import scripted_events, scripted_keys

#: The time of every screen.
NOW = datetime(2030, 1, 31, 9, 0, tzinfo=UTC)
LONG_ID = "autumn-renewal-notice-for-customers-of-the-north-4be1c29f"


def at(**before: float) -> Timestamp:
    """Return a time before now; a negative one is later."""
    made = Timestamp()
    made.FromDatetime(NOW - timedelta(**before))
    return made


def problem() -> pb.Problem:
    """Return a problem that needs a person."""
    return pb.Problem(
        kind=pb.Problem.PROVIDER_REFUSES,
        summary="the mail server refuses the sender's login",
        detail="535 5.7.8 authentication failed",
        setting="[smtp] password",
        since_time=at(minutes=7),
        needs_attention=True,
        deadline_time=at(days=-2),
    )


def known_to_the_sender() -> pb.Problem:
    """Return a problem that nobody can report to the status service."""
    return pb.Problem(
        kind=pb.Problem.STATUS_SERVICE_UNREACHABLE,
        summary="the sender can't reach the status service",
        detail="connection refused",
        setting="[sender] status_address",
        since_time=at(minutes=2),
        needs_attention=True,
    )


def campaigns() -> list[pb.Campaign]:
    """Return campaigns in every state, with names and ids that are hard to show."""
    return [
        pb.Campaign(
            campaign_id="welcome-424c39ce",
            display_name="Welcome",
            channel="smtp",
            state=pb.Campaign.SENDING,
            revision=9,
            sealed=True,
            total=1_000_000,
            sent=412_000,
            failed=880,
            processed=412_880,
            pending=587_120,
            create_time=at(hours=2),
            start_time=at(hours=1, minutes=11),
            progress_time=at(seconds=3),
        ),
        pb.Campaign(
            campaign_id=LONG_ID,
            display_name="Autumn renewal notice for customers of the north",
            channel="smtp",
            labels={"list": "renewals", "tenant": "a"},
            state=pb.Campaign.SENDING,
            revision=5,
            sealed=True,
            total=48_200,
            sent=18_097,
            failed=143,
            processed=18_240,
            pending=29_960,
            create_time=at(hours=3),
            start_time=at(hours=2),
            progress_time=at(minutes=7, seconds=12),
            problems=[problem()],
        ),
        pb.Campaign(
            campaign_id="spring-jp",
            display_name="春のキャンペーン、お客様各位へのお知らせ",
            channel="webhook",
            state=pb.Campaign.COMPLETED,
            revision=4,
            sealed=True,
            total=1,
            unknown=1,
            processed=1,
            pending=0,
            create_time=at(days=3),
            start_time=at(days=3),
            progress_time=at(days=3),
            complete_time=at(days=3),
        ),
        pb.Campaign(
            campaign_id="paused",
            display_name="Tabs\tand\nlines \\ [red]not markup[/] \x1b[2J",
            channel="smtp",
            state=pb.Campaign.PAUSED,
            revision=3,
            sealed=True,
            total=10,
            pending=10,
            create_time=at(days=4),
            start_time=at(days=4),
        ),
        pb.Campaign(
            campaign_id="new-year",
            display_name="New Year",
            channel="smtp",
            state=pb.Campaign.SCHEDULED,
            revision=2,
            sealed=True,
            total=120_000,
            pending=120_000,
            create_time=at(days=4),
            schedule_time=at(hours=-21),
        ),
        pb.Campaign(
            campaign_id="draft",
            channel="smtp",
            state=pb.Campaign.DRAFT,
            revision=1,
            create_time=at(days=5),
        ),
        pb.Campaign(
            campaign_id="stopped",
            display_name="Stopped by hand",
            channel="smtp",
            state=pb.Campaign.CANCELLED,
            revision=6,
            sealed=True,
            total=4,
            sent=1,
            skipped=3,
            processed=4,
            pending=0,
            create_time=at(days=6),
            start_time=at(days=6),
            progress_time=at(days=6),
            results_remove_time=at(days=1),
        ),
        pb.Campaign(
            campaign_id="done",
            display_name="Done",
            channel="smtp",
            state=pb.Campaign.COMPLETED,
            revision=7,
            sealed=True,
            total=1935,
            sent=1895,
            failed=37,
            unknown=3,
            processed=1935,
            pending=0,
            create_time=at(days=7),
            start_time=at(days=7),
            progress_time=at(days=7),
            complete_time=at(days=7),
        ),
    ]


def diagnoses(found: list[pb.Campaign]) -> list[pb.CampaignDiagnosis]:
    """Return what is the matter with the open campaigns."""
    by_id = {campaign.campaign_id: campaign for campaign in found}
    full = pb.Campaign()
    full.CopyFrom(by_id["done"])
    full.campaign_id, full.state = "stuck", pb.Campaign.SENDING
    made = [
        pb.CampaignDiagnosis(
            campaign=full,
            diagnosis=pb.CampaignDiagnosis.FULLY_PROCESSED,
            repaired=True,
            explanation="Every one of 1,935 messages has a result, and it is still open.",
            action="Completed it.",
        ),
        pb.CampaignDiagnosis(
            campaign=by_id[LONG_ID],
            diagnosis=pb.CampaignDiagnosis.STALLED,
            needs_attention=True,
            last_reporter="sender-1",
            explanation=(
                "29,960 of 48,200 messages have no result, and none came for 7 minutes: the mail"
                " server refuses the sender's login."
            ),
            action="Correct [smtp] password, and restart the sender.",
        ),
        pb.CampaignDiagnosis(
            campaign=by_id["welcome-424c39ce"],
            diagnosis=pb.CampaignDiagnosis.IN_PROGRESS,
            last_reporter="sender-1",
            explanation="587,120 of 1,000,000 messages have no result yet, and results come in.",
            action="Wait.",
        ),
        pb.CampaignDiagnosis(
            campaign=by_id["paused"],
            diagnosis=pb.CampaignDiagnosis.PAUSED,
            explanation="Its owner paused it.",
            action="Resume it with `closeout resume paused`.",
        ),
    ]
    for diagnosis in made:
        diagnosis.sending_duration.seconds = 7200
        diagnosis.idle_duration.seconds = 432 if diagnosis.needs_attention else 3
    return made


class Status(StatusServiceServicer):
    """Answers from the campaigns above."""

    def __init__(self) -> None:
        self.campaigns = campaigns()
        self.diagnoses = diagnoses(self.campaigns)

    def _one(self, request, context) -> pb.Campaign:
        for campaign in self.campaigns:
            if campaign.campaign_id == request.campaign_id:
                return campaign
        context.abort(grpc.StatusCode.NOT_FOUND, f"campaign {request.campaign_id!r} not found")
        raise AssertionError

    def GetCampaign(self, request, context):
        return pb.GetCampaignResponse(campaign=self._one(request, context))

    def ListCampaigns(self, request, context):
        found = [
            campaign
            for campaign in self.campaigns
            if not request.states or campaign.state in request.states
        ]
        return pb.ListCampaignsResponse(campaigns=found)

    def WatchCampaign(self, request, context):
        yield pb.WatchCampaignResponse(campaign=self._one(request, context))

    def RepairCampaigns(self, request, context):
        found = [
            diagnosis
            for diagnosis in self.diagnoses
            if request.campaign_id in {"", diagnosis.campaign.campaign_id}
        ]
        return pb.RepairCampaignsResponse(
            diagnoses=found,
            open_campaigns=len(self.diagnoses),
            repaired_campaigns=1,
            attention_campaigns=1,
        )

    def ExplainCampaign(self, request, context):
        campaign = self._one(request, context)
        for diagnosis in self.diagnoses:
            if diagnosis.campaign.campaign_id == campaign.campaign_id:
                return pb.ExplainCampaignResponse(
                    diagnosis=diagnosis,
                    missing_ranges=[
                        pb.SequenceRange(first=first, last=first + 99)
                        for first in range(4_561, 8_000, 200)
                    ],
                    more_missing_ranges=True,
                    explanation=diagnosis.explanation,
                )
        return pb.ExplainCampaignResponse(
            diagnosis=pb.CampaignDiagnosis(campaign=campaign),
            explanation="It is COMPLETED, and there is nothing to do.",
        )

    def ListResults(self, request, context):
        self._one(request, context)
        outcomes = (pb.Result.SENT, pb.Result.FAILED, pb.Result.SKIPPED, pb.Result.UNKNOWN)
        codes = ("250", "smtputf8_unsupported", "cancelled", "in_doubt")
        details = (
            "2.0.0 Ok: queued as 4WxYz",
            "the mail server\ttakes no such address; ask for another one, as in zoe@example.com",
            "",
            "the sender was stopped while the provider had the message",
        )
        return pb.ListResultsResponse(
            results=[
                pb.Result(
                    sequence=12_047 + number,
                    outcome=outcomes[number],
                    attempt=number,
                    code=codes[number],
                    detail=details[number],
                    provider_message_id="" if number else "<1@mail.example.com>",
                    finish_time=at(minutes=4 - number),
                )
                for number in range(4)
                if not request.outcomes or outcomes[number] in request.outcomes
            ]
        )

    def ListMissingRanges(self, request, context):
        self._one(request, context)
        ranges = [pb.SequenceRange(first=7, last=7), pb.SequenceRange(first=4_561, last=12_050)]
        return pb.ListMissingRangesResponse(ranges=ranges)

    def ListTransitions(self, request, context):
        self._one(request, context)
        kept = pb.Transition
        return pb.ListTransitionsResponse(
            transitions=[
                kept(to_state=pb.Campaign.DRAFT, actor="sender", create_time=at(hours=3)),
                kept(
                    from_state=pb.Campaign.DRAFT,
                    to_state=pb.Campaign.SENDING,
                    cause=kept.SEAL,
                    actor="sender",
                    create_time=at(hours=2),
                ),
                kept(
                    from_state=pb.Campaign.SENDING,
                    to_state=pb.Campaign.PAUSED,
                    cause=kept.USER,
                    actor="ipv4:127.0.0.1:50484",
                    on_behalf_of="ops@mail-3.example.com",
                    reason="the bounce rate is too high;\twe look at the list first",
                    create_time=at(hours=1),
                ),
            ]
        )


class Sender(SenderServiceServicer):
    """Knows two of the campaigns."""

    def GetDelivery(self, request, context):
        if request.campaign_id not in {LONG_ID, "welcome-424c39ce", "paused"}:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such campaign")
        problems = {LONG_ID: [problem()], "paused": [known_to_the_sender()]}
        return sender_pb2.GetDeliveryResponse(
            campaign_id=request.campaign_id,
            phase=sender_pb2.GetDeliveryResponse.STARTED,
            total=1,
            finished=0,
            shards=1,
            leased_shards=1,
            in_doubt=1,
            problems=problems.get(request.campaign_id, []),
        )

    def BatchGetRecipients(self, request, context):
        names = ("zoe", "maximiliane.von-und-zu-hohenstein", "sam", "mia")
        return sender_pb2.BatchGetRecipientsResponse(
            recipients=[
                sender_pb2.RecipientEntry(
                    sequence=sequence,
                    address=f"{names[sequence % 4]}@example.com",
                    recipient_key=f"C{sequence}",
                )
                for sequence in sorted(request.sequences)
            ]
        )


@dataclass
class Addresses:
    """Where both services are."""

    status: str
    sender: str


#: That answer calls to one service.
_THREADS = 4


@contextlib.contextmanager
def serving() -> Iterator[Addresses]:
    """Serve both on free ports."""
    with contextlib.ExitStack() as stack:
        found = []
        for add, servicer in (
            (add_StatusServiceServicer_to_server, Status()),
            (add_SenderServiceServicer_to_server, Sender()),
        ):
            pool = stack.enter_context(ThreadPoolExecutor(_THREADS))
            # All threads begin here, and none in the test that calls first.
            started = threading.Barrier(_THREADS)
            list(pool.map(lambda _, started=started: started.wait(), range(_THREADS)))
            server = grpc.server(pool)
            add(servicer, server)  # type: ignore[arg-type] # each has its own kind
            add_AccessServiceServicer_to_server(scripted_keys.Access(), server)
            add_EventServiceServicer_to_server(scripted_events.Events(), server)
            found.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            server.start()
            stack.callback(lambda server=server: server.stop(None).wait())
        yield Addresses(*found)
