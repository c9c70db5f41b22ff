"""The examples speak the contract, and the page about clients quotes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from closeout.status.v1 import status_pb2

ROOT = Path(__file__).resolve().parents[2]
NODE = (ROOT / "examples/node/report_results.mjs").read_text()
SERVICE = status_pb2.DESCRIPTOR.services_by_name["StatusService"]
#: The calls of the script: the rpc, and the request as it is written.
CALLS = re.findall(r"call\(client, '(\w+)', (\{.*?\})\)", NODE, re.DOTALL)


def field_names(message: Descriptor) -> set[str]:
    """Return the names of all fields of a message and of the messages in it."""
    names = {field.name for field in message.fields}
    nested = (field.message_type for field in message.fields if field.message_type)
    return names.union(*(field_names(inner) for inner in nested))


def test_the_node_example_makes_calls() -> None:
    """The pattern of this test finds the calls of the script."""
    assert {name for name, _ in CALLS} == {
        "BatchReportResults",
        "CreateCampaign",
        "GetCampaign",
        "StartCampaign",
    }


@pytest.mark.parametrize(("name", "request_text"), CALLS)
def test_the_node_example_sends_fields_of_the_contract(name: str, request_text: str) -> None:
    """Each request of the script has fields that its rpc takes, and no others.

    proto-loader ignores an unknown field without a word.
    """
    known = field_names(SERVICE.methods_by_name[name].input_type)
    used = re.findall(r"[{,\[]\s*(\w+)\s*(?=[:,}])", request_text)
    assert used
    assert set(used) <= known


def test_the_node_example_reports_results_of_the_contract() -> None:
    """The results of the script have fields and outcomes of the contract."""
    written = re.findall(r"\{ sequence, .*? \}", NODE)
    assert len(written) == 2
    for result in written:
        assert set(re.findall(r"[{,] (\w+)", result)) <= field_names(status_pb2.Result.DESCRIPTOR)
        (outcome,) = re.findall(r"outcome: '(\w+)'", result)
        assert outcome in dict(status_pb2.Result.Outcome.items())


def test_the_node_example_is_locked_with_hashes_and_without_an_index() -> None:
    """The lock file has a hash for each package, and no address."""
    lock = json.loads((ROOT / "examples/node/package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages
    assert all(package["integrity"] for package in packages)
    assert not any("resolved" in package for package in packages)


def test_the_page_about_clients_quotes_the_examples() -> None:
    """Every line of code of the page, but for shell commands, is in an example."""
    page = (ROOT / "docs/clients.md").read_text()
    blocks = re.findall(r"```(?:python|js)\n(.*?)```", page, re.DOTALL)
    sources = "".join(
        path.read_text() for path in sorted((ROOT / "examples").rglob("report_results*"))
    )
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    assert len(lines) > 3
    assert [line for line in lines if line not in sources] == []
