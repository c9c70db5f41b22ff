"""protos/closeout/status/v1/status.http.yaml: which calls have a path, and what a path is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from closeout.status.v1 import access_pb2, events_pb2, status_pb2
from service_runtime.errors import ServiceError
from service_runtime.grpc_requests import MethodNotFoundError
from service_runtime.http_errors import error_json, http_status
from status_service.access.scopes import SCOPES
from status_service.errors import CampaignNotFoundError
from status_service.http_api.paths import PathTemplate
from status_service.http_api.rules import Rule, packaged_rules, read_rules
from status_service.http_api.transcoder import method_of

RULES = packaged_rules()
#: Calls without a path, each with its reason.
NOT_OVER_HTTP = {
    "/closeout.status.v1.StatusService/ReportResults": (
        "its requests are a stream; BatchReportResults stores the same results"
    )
}
SERVICES = [
    service.full_name
    for module in (status_pb2, access_pb2, events_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]


PAGE = Path(__file__).resolve().parents[2] / "docs" / "http.md"


def rules_of(*lines: str) -> list[Rule]:
    """Return the rules of a file with one entry."""
    entry = "\n      ".join(lines)
    return read_rules(
        "type: google.api.Service\nconfig_version: 3\nhttp:\n  rules:\n    - " + entry + "\n"
    )


def test_every_call_has_a_path_or_a_reason_why_not() -> None:
    """A call that is added to the contract is served over HTTP, or somebody said why not."""
    calls = {
        f"/{name}/{method.name}"
        for name in SERVICES
        for method in descriptor_pool.Default().FindServiceByName(name).methods
    }
    served = {rule.full_method for rule in RULES}
    assert served | set(NOT_OVER_HTTP) == calls
    assert not served & set(NOT_OVER_HTTP)
    assert served <= set(SCOPES)
    assert all(NOT_OVER_HTTP.values())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_every_rule_fits_its_call(rule: Rule) -> None:
    """It names a call without a stream of requests, and its variables are texts of the request."""
    method = method_of(rule)
    assert f"/{method.containing_service.full_name}/{method.name}" == rule.full_method
    assert rule.has_body == (rule.method == "POST")


def test_no_two_rules_have_the_same_method_and_path() -> None:
    """A request makes one call."""
    assert len({(rule.method, rule.path) for rule in RULES}) == len(RULES)


def test_an_additional_binding_is_a_rule_of_the_same_call() -> None:
    """A call may have several paths."""
    first, second = rules_of(
        "selector: a.B.C",
        "post: /c",
        'body: "*"',
        "additional_bindings:",
        "  - get: /d",
    )
    assert first == Rule("a.B", "C", "POST", "/c", has_body=True)
    assert second == Rule("a.B", "C", "GET", "/d", has_body=False)


@pytest.mark.parametrize(
    "lines",
    [
        ("selector: a.B.C",),
        ("selector: a.B.C", "get: /c", "post: /c"),
        ("selector: a.B.C", "post: /c", "body: field"),
        ("selector: a.B.C", "get: /c", "response_body: field"),
    ],
)
def test_a_rule_that_can_t_be_served_is_refused(lines: tuple[str, ...]) -> None:
    """What grpc-gateway would serve and this service would not is no silent difference."""
    with pytest.raises(ValueError, match=r"a\.B\.C: a rule has one of"):
        rules_of(*lines)


def test_a_file_of_another_kind_is_refused() -> None:
    """The form is the gRPC API configuration."""
    with pytest.raises(ValueError, match="config_version 3"):
        read_rules("type: google.api.Service\nconfig_version: 2\n")


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule("a.B", "C", "GET", "/c", has_body=False), "has no C"),
        (
            Rule("closeout.status.v1.StatusService", "ReportResults", "POST", "/r", has_body=True),
            "reads a stream",
        ),
        (
            Rule("closeout.status.v1.StatusService", "GetCampaign", "GET", "/{x}", has_body=False),
            "x is no text",
        ),
    ],
)
def test_a_rule_that_does_not_fit_the_contract_is_refused(rule: Rule, problem: str) -> None:
    """A typing mistake in the file is found when the service starts."""
    with pytest.raises(ValueError, match=problem):
        method_of(rule)


@pytest.mark.parametrize(
    ("path", "variables"),
    [
        ("/v1/campaigns/a:start", {"campaign_id": "a"}),
        ("/v1/campaigns/a.b-c:start", {"campaign_id": "a.b-c"}),
        ("/v1/campaigns/a%3Ab:start", {"campaign_id": "a:b"}),
        ("/v1/campaigns/a%2Fb:start", {"campaign_id": "a/b"}),
        ("/v1/campaigns/%FF:start", {"campaign_id": "\ufffd"}),
        ("/v1/campaigns/a", None),
        ("/v1/campaigns/:start", None),
        ("/v1/campaigns/a:start/", None),
        ("/v1/campaigns/a:b:start", None),
        ("/v1/campaigns/a/b:start", None),
        ("/v1/campaigns/a%3Astart", None),
        ("/V1/campaigns/a:start", None),
    ],
)
def test_a_path_has_its_variables_unescaped(path: str, variables: dict[str, str] | None) -> None:
    """An escaped slash or colon belongs to a value; one that is not separates."""
    assert PathTemplate("/v1/campaigns/{campaign_id}:start").match(path) == variables


@pytest.mark.parametrize("template", ["/v1/{name=shelves/*}", "/v1/*", "/v1/{a"])
def test_a_template_of_another_form_is_refused(template: str) -> None:
    """What is not served is found when the service starts."""
    with pytest.raises(ValueError, match="a variable has the form"):
        PathTemplate(template)


def test_the_page_about_http_lists_every_path_with_its_call() -> None:
    """The table of docs/http.md has the rules, in lowerCamelCase, and the document."""
    rows = re.findall(r"^\| `([A-Z]+) (/\S+)` \| (\w+)", PAGE.read_text(), re.MULTILINE)
    assert rows.pop()[1] == "/openapi.json"
    assert sorted(rows) == sorted(_row(rule) for rule in RULES)


def _row(rule: Rule) -> tuple[str, str, str]:
    return rule.method, re.sub("_i(?=d})", "I", rule.path), rule.call


def test_the_page_about_http_shows_a_real_error() -> None:
    """The error in docs/http.md is what the service answers."""
    (shown,) = re.findall(r"```json\n(.+?)```", PAGE.read_text(), re.DOTALL)
    assert json.loads(shown) == error_json(CampaignNotFoundError("x"))


def test_the_page_about_http_has_every_status() -> None:
    """No status is answered that is not explained."""
    listed = {
        int(number) for number in re.findall(r"^\| (\d{3}) \|", PAGE.read_text(), re.MULTILINE)
    }
    errors = [kind for kind in _kinds(ServiceError) if not kind.__module__.startswith("sender")]
    errors.remove(MethodNotFoundError)  # over HTTP, a path is not there
    answered = {_status(kind) for kind in errors}
    assert answered <= listed
    assert listed - answered <= {500}


def _kinds(kind: type[ServiceError]) -> set[type[ServiceError]]:
    return {kind}.union(*(_kinds(below) for below in kind.__subclasses__()))


def _status(kind: type[ServiceError]) -> int:
    error = kind.__new__(kind)
    return http_status(error)
