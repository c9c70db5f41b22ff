"""What a request must be before anything is done with it.

One function for each form of request. It returns what the service works with, or
raises one InvalidRequestError that names every field that is wrong.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from closeout.status.v1 import status_pb2
from service_runtime.pages import PageRequest
from service_runtime.validation import (
    ADDRESS,
    CHANNEL,
    DISPLAY_NAME,
    REASON,
    REPORTER,
    Validation,
)
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.domain import Outcome, State
from status_service.grpc_api.problem_validation import checked_problems
from status_service.grpc_api.result_validation import LONGEST, checked_results
from status_service.recording.result_columns import NO_RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from status_service.recording.result_columns import ResultColumns

#: The largest total: sequences stay within a signed 64-bit integer with room to count.
LARGEST_TOTAL = 2**53
#: Campaigns of one BatchReportResults, and results of one frame or call, at most.
BATCH_CAMPAIGNS = 100
REPORTED_RESULTS = 1_000
#: Codes of one ListResults, at most.
LISTED_CODES = 50
#: A shorter address would stand in too many texts.
_SHORTEST_ADDRESS = 3
_SHORTEST, _LONGEST = timedelta(microseconds=1), timedelta(days=36_500)
_STATES = {int(status_pb2.Campaign.State.Value(state)): state for state in State}
_OUTCOMES = {int(outcome): int(outcome) for outcome in Outcome}
#: Whether an order begins with the campaigns longest without progress.
_STUCK_FIRST = {
    int(order): order == status_pb2.ListCampaignsRequest.STUCK_FIRST
    for order in status_pb2.ListCampaignsRequest.Order.values()
}


class _OfCampaign(Protocol):
    @property
    def campaign_id(self) -> str: ...


class _PageOfCampaign(_OfCampaign, Protocol):
    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


class _ChangeOfCampaign(_OfCampaign, Protocol):
    @property
    def reason(self) -> str: ...
    @property
    def revision(self) -> int: ...


class ChangeRequest(NamedTuple):
    """A campaign to pause, resume, cancel or complete."""

    campaign_id: str
    reason: str
    revision: int


class CampaignList(NamedTuple):
    """Which campaigns to list."""

    page: PageRequest
    states: Sequence[State]
    labels: dict[str, str]
    stuck_first: bool


class ResultList(NamedTuple):
    """Which results of a campaign to list; all of them without ``outcomes`` and ``codes``."""

    campaign_id: str
    page: PageRequest
    outcomes: Sequence[int]
    codes: Sequence[str]


class RepairRequest(NamedTuple):
    """Which campaigns to repair, all open ones if ``campaign_id`` is empty."""

    campaign_id: str
    stall_threshold: timedelta | None


class ReportedCampaign(NamedTuple):
    """What is reported of one campaign; ``problems`` None: no change of them."""

    campaign_id: str
    results: ResultColumns
    problems: str | None


class Reported(NamedTuple):
    """Results and problems of campaigns, and who reports them; empty: the caller."""

    reporter: str
    campaigns: Sequence[ReportedCampaign]


def campaign_id(request: _OfCampaign) -> str:
    """Return the campaign that a request is about."""
    with Validation() as check:
        return check.campaign_id(request.campaign_id)


def erasure(request: status_pb2.EraseAddressRequest) -> tuple[str, PageRequest]:
    """Return the address to erase, and where to go on."""
    with Validation() as check:
        address = check.text("address", request.address.strip(), longest=ADDRESS)
        if len(address) < _SHORTEST_ADDRESS:
            check.refuse("address", f"required, with {_SHORTEST_ADDRESS} characters at least")
        return address, PageRequest(1, request.page_token)


def new_campaign(request: status_pb2.CreateCampaignRequest) -> NewCampaign:
    """Return the campaign to register."""
    with Validation() as check:
        return NewCampaign(
            campaign_id=check.campaign_id(request.campaign_id, optional=True),
            request_id=check.request_id(request.request_id),
            display_name=check.text("display_name", request.display_name, longest=DISPLAY_NAME),
            channel=check.text("channel", request.channel, longest=CHANNEL),
            labels=check.labels(request.labels),
        )


def start_order(request: status_pb2.StartCampaignRequest) -> tuple[str, StartOrder]:
    """Return the campaign to start, and how."""
    timed = request.HasField("start_time")
    with Validation() as check:
        name = check.campaign_id(request.campaign_id)
        if not request.HasField("total"):
            check.refuse("total", "required; 0 is a campaign of nobody")
        order = StartOrder(
            total=check.number("total", request.total, least=0, most=LARGEST_TOTAL),
            start_time=check.timestamp("start_time", request.start_time) if timed else None,
            start_now=request.start_now,
            revision=check.revision(request.revision),
        )
        check.only_one({"start_time": timed, "start_now": request.start_now})
    return name, order


def change(request: _ChangeOfCampaign, *, needs_reason: bool = False) -> ChangeRequest:
    """Return the campaign to change, and why."""
    with Validation() as check:
        return ChangeRequest(
            check.campaign_id(request.campaign_id),
            check.text("reason", request.reason, longest=REASON, required=needs_reason),
            check.revision(request.revision),
        )


def repair(request: status_pb2.RepairCampaignsRequest) -> RepairRequest:
    """Return what to repair."""
    threshold = None
    with Validation() as check:
        name = check.campaign_id(request.campaign_id, optional=True)
        if request.HasField("stall_threshold"):
            threshold = check.duration(
                "stall_threshold", request.stall_threshold, least=_SHORTEST, most=_LONGEST
            )
    return RepairRequest(name, threshold)


def campaign_list(request: status_pb2.ListCampaignsRequest) -> CampaignList:
    """Return which campaigns to list."""
    with Validation() as check:
        return CampaignList(
            page=check.page(request.page_size, request.page_token, default=50),
            states=check.enums("states", request.states, _STATES),
            labels=check.labels(request.labels),
            stuck_first=check.enum("order", request.order, _STUCK_FIRST, default=False),
        )


def page(request: _PageOfCampaign, *, default: int) -> tuple[str, PageRequest]:
    """Return of which campaign a page is requested, and which page."""
    with Validation() as check:
        name = check.campaign_id(request.campaign_id)
        requested = check.page(request.page_size, request.page_token, default=default)
    return name, requested


def result_page(request: status_pb2.ListResultsRequest) -> ResultList:
    """Return which results of which campaign are requested."""
    codes = list(request.codes)
    with Validation() as check:
        name = check.campaign_id(request.campaign_id)
        requested = check.page(request.page_size, request.page_token, default=500)
        outcomes = check.enums("outcomes", request.outcomes, _OUTCOMES)
        if len(codes) > LISTED_CODES:
            check.refuse("codes", f"{len(codes):,} given; at most {LISTED_CODES}")
            codes = []
        for index, code in enumerate(codes):
            check.text(f"codes[{index}]", code, longest=LONGEST["code"])
    return ResultList(name, requested, outcomes, codes)


def failures(request: status_pb2.ListFailuresRequest) -> tuple[str, Sequence[int]]:
    """Return of which campaign failures are requested, and of which outcomes."""
    with Validation() as check:
        name = check.campaign_id(request.campaign_id)
        outcomes = check.enums("outcomes", request.outcomes, _OUTCOMES)
    return name, outcomes


def frame(request: status_pb2.ReportResultsRequest) -> Reported:
    """Return the results and the problems of a frame."""
    with Validation() as check:
        name = check.campaign_id(request.campaign_id)
        reporter = check.text("reporter", request.reporter, longest=REPORTER)
        if len(request.results) > REPORTED_RESULTS:
            given = f"{len(request.results):,} in one frame"
            check.refuse("results", f"{given}; at most {REPORTED_RESULTS:,}")
            results = NO_RESULTS
        else:
            results = checked_results(check, "results", request.results)
        problems = checked_problems(check, "problems", request)
    return Reported(reporter, [ReportedCampaign(name, results, problems)])


def batch(request: status_pb2.BatchReportResultsRequest) -> Reported:
    """Return the results and the problems of several campaigns."""
    given = request.campaigns
    reported = []
    with Validation() as check:
        reporter = check.text("reporter", request.reporter, longest=REPORTER)
        number = sum(len(campaign.results) for campaign in given)
        if not given:
            check.refuse("campaigns", "required")
        elif len(given) > BATCH_CAMPAIGNS:
            check.refuse("campaigns", f"{len(given):,} given; at most {BATCH_CAMPAIGNS}")
        elif number > REPORTED_RESULTS:
            check.refuse("campaigns", f"{number:,} results given; at most {REPORTED_RESULTS:,}")
        else:
            for index, campaign in enumerate(given):
                place = f"campaigns[{index}]"
                name = check.campaign_id(campaign.campaign_id, field=f"{place}.campaign_id")
                results = checked_results(check, f"{place}.results", campaign.results)
                problems = checked_problems(check, f"{place}.problems", campaign)
                reported.append(ReportedCampaign(name, results, problems))
            check.unique("campaigns", [campaign.campaign_id for campaign in reported])
    return Reported(reporter, reported)
