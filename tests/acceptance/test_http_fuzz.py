"""/openapi.json describes the service: requests that schemathesis makes up are answered by it.

`make soak` makes up many more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from acceptance.forked import ForkedService
from acceptance.processes import Service
from closeout import StatusClient
from closeout.status.v1.status_pb2 import Result
from status_service.http_api.openapi import DOCUMENT
from status_service.http_api.rules import packaged_rules

DESCRIBED = json.loads(DOCUMENT.read_text(encoding="utf-8"))
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
#: Those whose request has more than texts, so that it can be of a wrong form.
FORMED = [
    label
    for label, operation in OPERATIONS.items()
    if operation.body or {"pageSize", "page_size"} & {one.name for one in operation.query}
]
#: The campaign that right requests are about.
KNOWN = "known"
CHECKS: list[Any] = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A status service on SQLite, as a process."""
    with ForkedService(
        "status_service",
        "status service listening on ",
        tmp_path_factory.mktemp("status"),
        {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"},
    ) as service:
        with StatusClient(service.start()) as client:
            client.create_campaign(campaign_id=KNOWN)
            client.start_campaign(campaign_id=KNOWN, total=5)
            client.report([Result(sequence=1, outcome=Result.SENT)], campaign_id=KNOWN)
        yield service


def test_the_document_is_valid_openapi() -> None:
    """It is what OpenAPI 3.1 allows, by the schema of its makers."""
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(DESCRIBED)] == []


def test_the_document_has_every_rule_and_nothing_else() -> None:
    """A path that is added to the rules is described."""
    described = {
        (method.upper(), path) for path, item in DESCRIBED["paths"].items() for method in item
    }
    names = {
        "{campaign_id}": "{campaignId}",
        "{key_id}": "{keyId}",
        "{subscription_id}": "{subscriptionId}",
    }
    for rule in packaged_rules():
        path = rule.path
        for name, shown in names.items():
            path = path.replace(name, shown)
        described.remove((rule.method, path))
    assert described == set()


def test_everything_described_has_words() -> None:
    """The comments of the contract are there: of operations, messages and fields."""
    for item in DESCRIBED["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert operation["description"]
    for name, schema in DESCRIBED["components"]["schemas"].items():
        assert schema["description"], name
        if name != "Status":
            for field, described in schema.get("properties", {}).items():
                assert described["description"], f"{name}.{field}"
    assert "Numbers of 64 bits" in DESCRIBED["info"]["description"]


def answers(service: Service, label: str, mode: GenerationMode, examples: int) -> None:
    """Send requests that are made up, and check each answer."""
    # A watch of a campaign that is open has no end.
    is_known = mode is GenerationMode.POSITIVE and "{campaignId}" in label and "watch" not in label
    strategy = OPERATIONS[label].as_strategy(
        generation_mode=mode, path_parameters={"campaignId": KNOWN} if is_known else None
    )

    @hypothesis.settings(
        max_examples=examples,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=strategy)
    def answer(case: Any) -> None:
        case.call_and_validate(base_url=f"http://{service.http_address}", checks=CHECKS, timeout=30)

    answer()
    assert service.events("call_failed") == []


@pytest.mark.parametrize("label", OPERATIONS)
def test_right_requests_are_answered_as_described(
    status: Service, label: str, http_examples: int
) -> None:
    """No 5xx; the status, the headers and the JSON are those of the document."""
    answers(status, label, GenerationMode.POSITIVE, http_examples)


@pytest.mark.parametrize("label", FORMED)
def test_wrong_requests_are_refused_as_described(
    status: Service, label: str, http_examples: int
) -> None:
    """No 5xx, and an error of the one form.

    Some are right after all: protobuf takes null for absent, and numbers as texts.
    """
    answers(status, label, GenerationMode.NEGATIVE, http_examples)
