"""The text of a campaign that is given as HTML only."""

from __future__ import annotations

import pytest

from sender_service.channels.contract import EmailContent, Message
from sender_service.channels.rendering.content import CompiledContent
from sender_service.channels.rendering.derived_text import DerivedText
from sender_service.channels.rendering.html_text import html_to_text

FIELDS = {
    "name": "Zoë & <Co>",
    "vip": True,
    "items": ["tea", "milk"],
    "url": "https://shop.example/?a=1&b=2",
    "note": "<b>bold</b> &amp; so on",
}


def render(html: str, **fields: object) -> tuple[DerivedText, str, str]:
    """Return the derived text's template, the text, and the HTML."""
    content = CompiledContent(EmailContent(html=html))
    message = Message("c", 1, "a@shop.example", "", FIELDS | fields, "0" * 32)
    rendered = content.render(message)
    assert isinstance(content.text, DerivedText)
    return content.text, rendered.text, rendered.html


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One\n  two</p><p>three</p>", "One two\n\nthree\n"),
        ("a<br>b<br/>c", "a\nb\nc\n"),
        ("<ul><li>tea</li><li>milk</li></ul>", "- tea\n- milk\n"),
        ("<h1>Hi</h1>you <b>there</b>!", "Hi\n\nyou there!\n"),
        ('<a href="https://x.example/">Shop</a>', "Shop (https://x.example/)\n"),
        ('<a href="https://x.example/">https://x.example/</a>', "https://x.example/\n"),
        ('<a href="https://x.example/"><img src="l.png"></a>', "https://x.example/\n"),
        ('<a href="#top">up</a>', "up\n"),
        ("<img src=l.png alt='The logo'> of ours", "The logo of ours\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ("<style>p{}</style><script>x<y</script><p>seen</p>", "seen\n"),
        ("<head><title>no</title></head>yes", "yes\n"),
        ("5 &lt; 6 &amp; 7 &euro;", "5 < 6 & 7 €\n"),
        ("<div>one<div>two</div></div>three", "one\ntwo\nthree\n"),
        ("<p>never closed <b>bold", "never closed bold\n"),
        ("", ""),
    ],
)
def test_html_becomes_readable_text(html: str, text: str) -> None:
    """Words, paragraphs, lists and links stay; what is not for reading goes."""
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<p>Hi {{ name }}{% if vip %}, dear guest{% endif %}.</p><p>Bye</p>",
        "<p>A</p>{% if vip %}<p>B</p>{% else %}<p>C</p>{% endif %}<p>D</p>",
        "<p>A</p><p>{% unless vip %}B{% else %}C{% endunless %}</p>",
        "<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}</ul>",
        '<a href="{{ url }}">See <i>here</i></a>',
        "<title>{{ name }}</title><style>p { color: {{ name }} }</style><p>{{ name }}</p>",
        "{% assign who = name %}<p>{{ who }}</p>",
    ],
)
def test_converted_template_gives_the_words_of_the_converted_html(html: str) -> None:
    """Converting the template once gives the words that converting each HTML would."""
    derived, text, rendered_html = render(html)
    assert derived._template is not None
    assert text.split() == html_to_text(rendered_html).split()
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>{{ note | safe }}</p>", "bold & so on\n"),
        ("{{ 'a\nb' | newline_to_br }}", "a\nb\n"),
        ('{% assign x = "<p>Hi" %}{{ x }}', "Hi\n"),
        ("<head>{% assign who = name %}</head>{{ who }}", "Zoë & <Co>\n"),
        (
            '{% if vip %}<a href="https://a.example">{% else %}<a href="">{% endif %}Go</a>',
            "Go (https://a.example)\n",
        ),
        ("<script>{% if vip %}</script>{% endif %}<p>seen</p>", "seen\n"),
    ],
)
def test_liquid_that_makes_html_is_converted_after_rendering(html: str, text: str) -> None:
    """Where only the rendered HTML shows the text, that is what is converted."""
    derived, rendered, _ = render(html)
    assert derived._template is None
    assert rendered == text


def test_given_text_is_kept() -> None:
    """A text that is given is not replaced by one derived from the HTML."""
    content = CompiledContent(EmailContent(text="mine", html="<p>other</p>"))
    assert content.render(Message("c", 1, "a@b.example", "", {}, "0" * 32)).text == "mine"
