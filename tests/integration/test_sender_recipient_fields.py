"""CreateCampaign with the fields of its recipients: a misspelt variable is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from closeout.errors import InvalidArgumentError
from closeout.sender.v1 import sender_pb2 as pb
from integration.lone_sender import lone_sender
from integration.sender_pair import Pair, pair


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with the scripted channel."""
    async with pair(tmp_path) as services:
        yield services


async def refused(both: Pair, body: Any, fields: list[str], **more: Any) -> InvalidArgumentError:
    """Return the error for a campaign with this content."""
    with pytest.raises(InvalidArgumentError) as caught:
        await both.sender.create_campaign(
            campaign_id="c1", channel="scripted", body=body, recipient_fields=fields, **more
        )
    return caught.value


async def test_a_misspelt_variable_is_refused_with_its_place(both: Pair) -> None:
    """The text is for people; metadata has the parts for programs."""
    body = pb.EmailContent(subject="Hello {{ frist_name }}")
    error = await refused(both, body, ["first_name"])
    assert error.reason == "TEMPLATE_INVALID"
    assert error.message == (
        "subject:1:10: the recipients have no field frist_name; did you mean first_name?"
    )
    assert error.metadata == {
        "field": "email.subject",
        "line": "1",
        "column": "10",
        "variable": "frist_name",
        "suggestion": "first_name",
    }
    assert error.field_violations == {
        "email.subject": "1:10: the recipients have no field frist_name; did you mean first_name?"
    }


async def test_all_unknown_variables_are_named_in_one_answer(both: Pair) -> None:
    """Each template has its violation, and the metadata is that of the first."""
    body = pb.EmailContent(
        subject="Hi",
        text="{{ nmae }}\n{{ citty }}",
        html="{{ first_name }}{{ zzz }}",
        list_unsubscribe="https://shop.example/{{ token }}",
    )
    error = await refused(both, body, ["name", "city", "first_name"])
    assert error.message == (
        "text:1:4: the recipients have no field nmae; did you mean name?;"
        " text:2:4: the recipients have no field citty; did you mean city?;"
        " html:1:20: the recipients have no field zzz;"
        " list_unsubscribe:1:25: the recipients have no field token"
    )
    assert error.metadata["variable"] == "nmae"
    assert list(error.field_violations) == ["email.text", "email.html", "email.list_unsubscribe"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (pb.TextContent(text="Hi {{ frist_name }}"), "text.text"),
        (pb.JsonContent(json='{"n": {{ frist_name | json }}}'), "json.json"),
    ],
)
async def test_texts_and_documents_are_checked(both: Pair, body: Any, field: str) -> None:
    """The path in the request has the kind of the content."""
    error = await refused(both, body, ["first_name"])
    assert (error.metadata["field"], error.metadata["variable"]) == (field, "frist_name")


async def test_known_variables_and_unchecked_ones_are_taken(both: Pair) -> None:
    """Without recipient_fields nothing is checked; with them, what is known passes."""
    body = pb.EmailContent(subject="{{ name }} {{ address }} {{ plan | default: 'free' }}")
    for number, fields in enumerate((None, ["name"], ["name", "First name"])):
        created = await both.sender.create_campaign(
            campaign_id=f"c{number}", channel="scripted", body=body, recipient_fields=fields
        )
        assert created.created
    error = await refused(both, body, [])
    assert error.metadata["variable"] == "name"


async def test_the_fields_are_no_part_of_the_campaign(both: Pair) -> None:
    """The same campaign can be created again with other fields that fit, or with none."""
    body = pb.EmailContent(subject="{{ name }}")
    calls = [
        await both.sender.create_campaign(
            campaign_id="c1", channel="scripted", body=body, recipient_fields=fields
        )
        for fields in (["name"], ["name", "city"], None)
    ]
    assert [call.created for call in calls] == [True, False, False]


async def test_a_preview_is_checked_as_well(both: Pair) -> None:
    """With validate_only a misspelt variable is refused before anything is rendered."""
    body = pb.EmailContent(subject="{{ nmae }}")
    error = await refused(both, body, ["name"], validate_only=True)
    assert error.metadata["suggestion"] == "name"


async def test_more_than_a_thousand_fields_are_refused(both: Pair) -> None:
    """The limit is that of the contract."""
    body = pb.EmailContent(subject="{{ name }}")
    fields = [f"f{number}" for number in range(1_001)]
    error = await refused(both, body, fields)
    assert error.field_violations == {"recipient_fields.names": "1001 given; at most 1,000"}
    assert (await refused(both, body, fields[:-1])).reason == "TEMPLATE_INVALID"


async def test_many_unknown_variables_fit_into_one_answer(both: Pair) -> None:
    """An answer is bounded; the metadata is whole."""
    body = pb.EmailContent(text="".join(f"{{{{ unknown_{number} }}}}\n" for number in range(3_000)))
    error = await refused(both, body, ["name"])
    assert error.metadata["variable"] == "unknown_0"
    assert error.message.startswith("text:1:4: the recipients have no field unknown_0")


async def test_an_unknown_variable_is_refused_on_a_real_channel(tmp_path: Path) -> None:
    """A broken template is reported before its variables are."""
    body = pb.EmailContent(
        **{"subject": "Hi", "text": "{{ frist_name", "from": "Shop <news@shop.example>"}
    )
    async with lone_sender(tmp_path, host="127.0.0.1", port=1) as sender:
        for text, problem in (
            ("{{ frist_name", "template text at line 1, column 1: expected"),
            ("{{ frist_name }}", "text:1:4: the recipients have no field frist_name; did you"),
        ):
            body.text = text
            with pytest.raises(InvalidArgumentError) as caught:
                await sender.create_campaign(
                    channel="smtp", body=body, recipient_fields=["first_name"]
                )
            assert caught.value.reason == "TEMPLATE_INVALID"
            assert caught.value.message.startswith(problem)
