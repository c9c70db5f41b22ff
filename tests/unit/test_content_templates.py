"""Liquid templates: where they are broken, what they render, what they may not do."""

from __future__ import annotations

import sys

import pytest

from sender_service.channels.contract import EmailContent, Message, TextContent
from sender_service.channels.errors import InvalidContentError, TemplateError
from sender_service.channels.rendering.content import CompiledContent, Rendered
from sender_service.channels.rendering.templates import LiquidTemplate


def message(**fields: object) -> Message:
    return Message(
        campaign_id="spring",
        sequence=7,
        address="ann@shop.example",
        recipient_key="k-7",
        fields=fields,
        idempotency_key="0" * 32,
    )


@pytest.mark.parametrize(
    ("source", "line", "column", "text"),
    [
        ("Hello\n\n{% if vip %}\nyou", 3, 1, "tag 'if' is never closed"),
        ("a\n{% for x in xs %}\n  {% if x %}\n{% endfor %}", 4, 4, "unexpected tag 'endfor'"),
        ("{% if a %}{% if b %}\n{% endif %}", 1, 1, "tag 'if' is never closed"),
        ("a\n  {{ name", 2, 3, "expected '}}'"),
        ("ok {{ a }}\n {{ x | }}", 2, 2, "expected word"),
        ("{% if a %}\n{% elsif (b %}{% endif %}", 2, 10, "parentheses"),
        ("{% raw %}{% if %}{% endraw %}\n{% for x in (1..2 %}{% endfor %}", 2, 1, "expected ')'"),
        ("a\n{{ a b }}", 2, 6, "expected end of expression"),
        ("\n{{ name | upcaze }}", 2, 11, "unknown filter 'upcaze'"),
        ("{% bogus %}", 1, 4, "unexpected tag 'bogus'"),
        ("{% liquid\n assign a = 1\n bogus\n%}", 3, 2, "unexpected tag 'bogus'"),
        ("{% include 'secrets' %}", 1, 4, "unexpected tag 'include'"),
        ("{% render 'secrets' %}", 1, 4, "unexpected tag 'render'"),
    ],
)
def test_broken_template_names_field_line_and_column(
    source: str, line: int, column: int, text: str
) -> None:
    """A template that can't be compiled is refused with the place of its first error."""
    with pytest.raises(TemplateError, match=r"template html at line") as caught:
        CompiledContent(EmailContent(html=source))
    assert (caught.value.field, caught.value.line, caught.value.column) == ("html", line, column)
    assert text in str(caught.value)


def test_templates_see_fields_and_the_message() -> None:
    """A template may use the recipient's fields, the address, the key and the campaign."""
    source = "{{ name }} {{ address }} {{ recipient_key }} {{ campaign_id }}"
    rendered = CompiledContent(EmailContent(text=source)).render(message(name="Ann"))
    assert rendered.text == "Ann ann@shop.example k-7 spring"


def test_a_field_does_not_hide_the_address() -> None:
    """What the message itself says comes before a field of the same name."""
    rendered = CompiledContent(EmailContent(text="{{ address }}")).render(message(address="other"))
    assert rendered.text == "ann@shop.example"


@pytest.mark.parametrize(
    "source",
    [
        "{{ missing }}",
        "{{ missing.of.something }}",
        "{{ missing | upcase }}",
        "{{ name.of.something }}",
        "{% for x in missing %}x{% endfor %}",
        "{% if missing %}x{% endif %}",
    ],
)
def test_missing_names_render_as_nothing(source: str) -> None:
    """A field that a recipient does not have leaves a gap, not an error."""
    assert CompiledContent(EmailContent(text=source)).render(message(name="Ann")).text == ""


def test_output_is_escaped_in_html_alone() -> None:
    """A name with a tag in it is harmless in HTML and unchanged elsewhere."""
    content = EmailContent(subject="{{ name }}", text="{{ name }}", html="<b>{{ name }}</b>")
    rendered = CompiledContent(content).render(message(name="<i>Ann & Bo</i>"))
    assert rendered.html == "<b>&lt;i&gt;Ann &amp; Bo&lt;/i&gt;</b>"
    assert rendered.text == rendered.subject == "<i>Ann & Bo</i>"


@pytest.mark.parametrize(
    "source",
    [
        "{{ items | sort }}",
        "{{ 1 | divided_by: 0 }}",
        "{{ number | date: 5 }}",
        "{{ bad }}",
    ],
)
def test_wrong_type_for_a_filter_is_a_template_error(source: str) -> None:
    """What a filter can't take is an error of the template, whatever it raises inside."""
    template = CompiledContent(EmailContent(text=source))
    with pytest.raises(TemplateError, match="template text"):
        template.render(message(items=[1, "a", None], number=1.5, bad="\ud800"))


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in (1..101) %}{% for b in (1..100) %}{% endfor %}{% endfor %}",
        "{% for a in (1..9999) %}" + "x" * 200 + "{% endfor %}",
        "{{ (1..1000000000) | join: '' }}",
        "{% assign a = '0123456789' %}" + "{% assign a = a | append: a %}" * 30,
        "{% for a in (1..10000) %}" + "{% assign b = a %}" * 4_000 + "{% endfor %}",
        "{% for a in (1..10000) %}{% if a %}"
        + "{% if a == 0 %}{% endif %}" * 4_000
        + "{% endif %}{% endfor %}",
        "{{ '0123456789'" + " | replace: '0', '0000000000'" * 12 + " | size }}",
        "{% assign a = 'x' "
        + "| append: 'xxxxxxxxxxxxxxx'" * 600
        + " %}{{ a | split: '' | join: a"
        + " | size }}",
        "{% assign a = 9999999999 %}" + "{% assign a = a | times: a %}" * 40 + "{{ a }}",
        "{{ text | split: '' | uniq | size }}",
    ],
    ids=[
        *("turns", "output", "range", "variables", "nodes", "conditions", "replaced", "joined"),
        *("integer", "compared"),
    ],
)
def test_what_a_template_may_produce_is_bounded(source: str) -> None:
    """A template that runs away is stopped, and the error says so."""
    with pytest.raises(TemplateError, match=r"limit|longer than"):
        CompiledContent(EmailContent(text=source)).render(message(text="a" * 16_000))


def test_a_text_is_rendered_as_the_text_of_an_email_is() -> None:
    """A text has no subject, no HTML, and no other rules."""
    compiled = CompiledContent(TextContent(text="Hi {{ name }}"))
    assert compiled.render(message(name="<Ann>")) == Rendered("", "Hi <Ann>", "", "")
    assert compiled.preview(message(name="Ann")) == "To: ann@shop.example\n\nHi Ann"


def test_plain_source_is_constant() -> None:
    """A template without Liquid is known to be the same for everyone."""
    assert LiquidTemplate("text", "Hello { % } all").is_constant
    assert not LiquidTemplate("text", "Hello {{ name }}").is_constant


def test_content_without_a_body_is_refused() -> None:
    """A campaign says something."""
    with pytest.raises(InvalidContentError, match="text: give a text"):
        CompiledContent(EmailContent(subject="Hello"))


def test_preview_shows_all_that_is_rendered() -> None:
    """A preview has the recipient, the subject, the way out, the text and the HTML."""
    content = EmailContent(
        subject="Hi {{ name }}",
        text="Dear {{ name }}",
        html="<p>{{ name }}</p>",
        list_unsubscribe="https://shop.example/{{ recipient_key }}",
    )
    assert CompiledContent(content).preview(message(name="Ann")) == (
        "To: ann@shop.example\nSubject: Hi Ann\n"
        "List-Unsubscribe: https://shop.example/k-7\n\nDear Ann\n\n<p>Ann</p>"
    )


def test_an_expression_that_is_too_deep_fails_its_message_alone() -> None:
    """Where the stack is nearly used up, it is an error of the template as any other."""

    def nest() -> None:
        template = LiquidTemplate("text", "{{ a" + "[b" * 300 + "]" * 300 + " }}")

        def render(calls: int) -> None:
            if calls:
                return render(calls - 1)
            template.render({"a": {"b": 1}, "b": 1})
            return None

        for calls in range(0, sys.getrecursionlimit() - 100, 20):
            render(calls)

    with pytest.raises(TemplateError, match="too many parts"):
        nest()
