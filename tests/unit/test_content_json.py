"""JSON documents: values that can't break out, and what is no JSON once it is rendered."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender_service.channels.contract import JsonContent, Message
from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering.json_document import JsonDocument


def message(**fields: object) -> Message:
    return Message("spring", 7, "ann@shop.example", "k-7", fields, "0" * 32)


def rendered(source: str, **fields: object) -> str:
    return JsonDocument(JsonContent(json=source)).render(message(**fields))


NAMES = st.text(st.characters(exclude_categories=["Cs"]))


@given(NAMES)
def test_a_value_written_with_the_filter_stays_a_value(name: str) -> None:
    """Quotes, backslashes and line breaks in a name are part of the name."""
    document = json.loads(rendered('{"name": {{ name | json }}, "admin": false}', name=name))
    assert document == {"name": name, "admin": False}


def test_a_quote_breaks_out_only_without_the_filter() -> None:
    """The reason why the filter is documented as the only way."""
    name = 'Ann", "admin": true, "x": "'
    assert json.loads(rendered('{"name": {{ name | json }}}', name=name)) == {"name": name}
    assert json.loads(rendered('{"name": "{{ name }}"}', name=name))["admin"] is True


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ("{{ missing | json }}", None),
        ("{{ number | json }}", 5),
        ("{{ tags | json }}", ["a", "b"]),
        ("{{ nested | json }}", {"a": [1, None, True]}),
        ("{{ address | json }}", "ann@shop.example"),
        ("{{ number | divided_by: 2.0 | json }}", 2.5),
        ("{{ (1..3) | json }}", [1, 2, 3]),
        ("[{% for tag in tags %}{{ tag | json }}, {% endfor %}null]", ["a", "b", None]),
    ],
)
def test_every_value_has_its_json(source: str, document: object) -> None:
    """Texts, numbers, lists, objects, and null for an unknown name."""
    fields = {"number": 5, "tags": ["a", "b"], "nested": {"a": [1, None, True]}}
    assert json.loads(rendered(source, **fields)) == document


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{"name": {{ name }}}', "not JSON: Expecting value at its line 1, column 10"),
        ('{"name": "{{ quoted }}"}', "not JSON"),
        ("{{ name | upcase }}", "not JSON"),
        ("{{ 'NaN' }}", "NaN is not a number of JSON"),
        ("[{{ '-Infinity' }}]", "-Infinity is not a number of JSON"),
        ("{{ '1e999' }}", "too large a number"),
        ("{{ empty }}", "not JSON"),
        ("{{ bad | json }}", "surrogates not allowed"),
        ("{{ infinite | json }}", "not JSON compliant"),
        ("{{ '[' }}" + "[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_json_is_an_error_of_the_template(source: str, text: str) -> None:
    """One recipient's field fails one message, with the reason."""
    fields = {"name": "Ann", "quoted": 'a"b', "bad": "\ud800", "infinite": float("inf")}
    with pytest.raises(TemplateError, match=text) as caught:
        rendered(source, **fields)
    assert caught.value.field == "json"


def test_a_document_without_liquid_is_checked_before_the_campaign_is_made() -> None:
    """What is wrong for everyone is refused at once."""
    with pytest.raises(TemplateError, match="not JSON"):
        JsonDocument(JsonContent(json='{"a": }'))


def test_preview_shows_the_document_and_where_it_goes() -> None:
    """The preview has the address and the document as it is posted."""
    document = JsonDocument(JsonContent(json='{"n": {{ name | json }}}'))
    assert document.preview(message(name="Ann")) == 'To: ann@shop.example\n\n{"n": "Ann"}'
    with pytest.raises(TemplateError):
        JsonDocument(JsonContent(json="{{ name }}")).preview(message(name="Ann"))


def test_the_document_of_the_manual_is_one() -> None:
    """What docs/webhook.md shows renders to JSON, with all fields and with none."""
    manual = Path(__file__).parents[2] / "docs" / "webhook.md"
    (example,) = re.findall(r"```toml\n(.*?)```", manual.read_text(encoding="utf-8"), re.DOTALL)
    source = tomllib.loads(example)["content"]["json"]
    assert json.loads(rendered(source)) == {
        "to": "ann@shop.example",
        "notification": {"title": "News", "plan": None},
        "tags": None,
    }
    document = json.loads(rendered(source, title='A "B"', plan="Pro", tags=["a"]))
    assert document["notification"] == {"title": 'A "B"', "plan": "Pro"}
    assert document["tags"] == ["a"]
