"""Errors of the services: one mapping to a status with details, one enum of reasons."""

from __future__ import annotations

import importlib

import grpc
import pytest
from google.rpc import error_details_pb2

from closeout.status.v1 import error_reason_pb2
from service_runtime.errors import (
    DOMAIN,
    InvalidRequestError,
    ServiceError,
    StoreUnavailableError,
)
from status_service import errors as status_errors
from status_service.domain import Counters, State


def _classes(kind: type[ServiceError]) -> set[type[ServiceError]]:
    return {kind}.union(*(_classes(below) for below in kind.__subclasses__()))


importlib.import_module("sender_service.errors")
importlib.import_module("service_runtime.http_errors")
_ALL = sorted(_classes(ServiceError), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", _ALL, ids=[kind.__name__ for kind in _ALL])
def test_each_error_has_a_reason_of_the_contract_and_a_code(kind: type[ServiceError]) -> None:
    """The reason of every class is in error_reason.proto, and its code is a failure."""
    assert kind.reason in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118
    assert kind.code is not grpc.StatusCode.OK
    assert kind.__doc__


def test_each_reason_of_the_contract_has_an_error() -> None:
    """No reason is promised that nothing ever raises."""
    promised = set(error_reason_pb2.ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
    assert {kind.reason for kind in _ALL} == promised


def test_a_status_has_reason_fields_and_retry() -> None:
    """ErrorInfo, BadRequest and RetryInfo carry what the error was given."""
    error = InvalidRequestError(
        "no", metadata={"a": "1"}, fields={"x.y": "wrong"}, retry_after_seconds=1.25
    )
    status = error.to_status()
    assert (status.code, status.message) == (3, "no")
    info, request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail, target in zip(status.details, (info, request, retry), strict=True):
        assert detail.Unpack(target)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "INVALID_REQUEST",
        DOMAIN,
        {"a": "1"},
    )
    (violation,) = request.field_violations
    assert (violation.field, violation.description) == ("x.y", "wrong")
    assert retry.retry_delay.ToMilliseconds() == 1_250


def test_details_that_were_not_given_are_absent() -> None:
    """Without fields and retry there is ErrorInfo alone."""
    assert len(ServiceError("no").to_status().details) == 1
    assert len(StoreUnavailableError("no", retry_after_seconds=0).to_status().details) == 2


def test_an_invalid_request_lists_all_its_fields() -> None:
    """Each violation is in the text and in the fields."""
    error = InvalidRequestError.of({"a": "one", "b": "two"})
    assert error.message == "a: one; b: two"
    assert error.fields == {"a": "one", "b": "two"}


def test_every_dynamic_part_of_a_message_is_metadata() -> None:
    """What people read in the text, programs find by name."""
    examples: list[ServiceError] = [
        status_errors.CampaignNotFoundError("c-1"),
        status_errors.CampaignAlreadyExistsError("c-1"),
        status_errors.CampaignSealedError("c-1", sealed=7, given=8),
        status_errors.CampaignNotSealedError("c-1"),
        status_errors.TransitionNotAllowedError("c-1", state=State.COMPLETED, target=State.PAUSED),
        status_errors.CampaignNotSendingError("c-1", state=State.DRAFT),
        status_errors.SequenceOutOfRangeError("c-1", sequence=17, total=9),
        status_errors.FrameOutOfOrderError(frame=17, expected=5),
        status_errors.RevisionMismatchError("c-1", current=4, given=3),
        status_errors.StoreWentBackError("c-1", announced=50, current=20),
        status_errors.CampaignNotFullyProcessedError(
            "c-1", total=9, counters=Counters(1, 2, 0, 0), missing=[(4, 4), (6, 9)]
        ),
    ]
    for error in examples:
        assert error.metadata
        for value in error.metadata.values():
            assert value in error.message, (error.message, value)
        assert "\n" not in error.message
