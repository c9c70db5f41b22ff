"""E-mail as bytes: what a mail program reads back, and what can't be smuggled in."""

from __future__ import annotations

import base64
import email
import email.policy
import email.utils
from typing import TYPE_CHECKING, Any

import markupsafe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender_service.channels.contract import EmailContent, Message
from sender_service.channels.email.addresses import wire_address
from sender_service.channels.email.headers import UnsafeHeaderError, one_line, unstructured
from sender_service.channels.email.mime import MimeTemplate
from sender_service.channels.errors import InvalidContentError, TemplateError

if TYPE_CHECKING:
    from email.message import EmailMessage

KEY = "0123456789abcdef0123456789abcdef"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
#: Ways to begin a header of one's own.
LINE_BREAKS = [
    *("\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\x00\r\n", "\x0b", "\x0c", "\x1c", "\x85"),
    *("\u2028", "\u2029", "\r\n ", "\n\t", "=?utf-8?q?=0D=0A?=", "%0d%0a", "\\r\\n"),
]
INJECTIONS = [
    f"{before}{line_break}{header}"
    for before in ("", "Hello")
    for line_break in LINE_BREAKS
    for header in ("Bcc: evil@shop.example", "X-Evil: yes", "\r\n<script>")
]


def build(
    address: str = "ann@shop.example", *, fields: dict[str, object] | None = None, **content: object
) -> bytes:
    """Return the e-mail of a campaign for one recipient."""
    values = {"subject": "Hello", "text": "Hi", "from_": "Shop <news@shop.example>"} | content
    template = MimeTemplate(EmailContent(**values))  # type: ignore[arg-type]
    message = Message("spring", 7, address, "k-7", fields or {}, KEY)
    return template.render(message, wire_address(address))


def parse(data: bytes) -> EmailMessage:
    """Read an e-mail as a mail program does."""
    return email.message_from_bytes(data, policy=email.policy.default)


def check_wire(data: bytes) -> None:
    """Check what RFC 5322 asks of lines."""
    assert data.endswith(b"\r\n")
    assert data.replace(b"\r\n", b"").find(b"\r") == data.replace(b"\r\n", b"").find(b"\n") == -1
    assert b"\x00" not in data
    assert max(map(len, data.split(b"\r\n"))) <= 998


def normalised(text: str) -> str:
    """Return a body as it is sent: with the line ends of e-mail, the last included."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else f"{text}\n"


def test_headers_a_campaign_needs() -> None:
    """From, To, Reply-To, Subject, Date, Message-ID and the way out are there."""
    data = build(
        from_='"Lee, Ann" <ann@shop.example>',
        reply_to="Büro <help@bücher.example>",
        subject="Hi {{ name }}",
        list_unsubscribe="https://shop.example/u?k={{ recipient_key }}",
        headers={"X-Campaign": "spring", "Feedback-ID": "a:b:c"},
        fields={"name": "Zoë"},
    )
    message = parse(data)
    check_wire(data)
    assert message["From"] == '"Lee, Ann" <ann@shop.example>'
    assert message["To"] == "ann@shop.example"
    assert message["Reply-To"] == "Büro <help@xn--bcher-kva.example>"
    assert message["Subject"] == "Hi Zoë"
    assert message["Message-ID"] == f"<{KEY}@shop.example>"
    assert email.utils.parsedate_to_datetime(message["Date"]).utcoffset() is not None
    assert message["List-Unsubscribe"] == "<https://shop.example/u?k=k-7>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["X-Campaign"] == "spring"
    assert message["Feedback-ID"] == "a:b:c"
    assert message["MIME-Version"] == "1.0"
    assert len(message.keys()) == len(set(message.keys()))


def test_message_id_is_the_same_for_every_try() -> None:
    """A provider or a mailbox can tell a second try by the Message-ID."""
    assert parse(build())["Message-ID"] == parse(build())["Message-ID"]


@settings(deadline=None)
@given(subject=TEXTS, text=TEXTS, html=TEXTS)
def test_what_was_written_is_what_is_read(subject: str, text: str, html: str) -> None:
    """Subject and bodies of any text come back from a mail program as they were."""
    data = build(
        subject="S{{ subject }}",
        text="{{ text }}.",
        html="{{ html }}.",
        fields={"subject": subject, "text": text, "html": html},
    )
    check_wire(data)
    message = parse(data)
    assert message["Subject"] == one_line(f"S{subject}")
    plain = message.get_body(("plain",))
    rich = message.get_body(("html",))
    assert plain is not None
    assert rich is not None
    assert normalised(plain.get_content()) == normalised(f"{text}.")
    assert normalised(rich.get_content()) == normalised(f"{markupsafe.escape(html)}.")
    assert not message.defects


@settings(deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="<>"), min_size=1)
)
def test_names_are_read_as_they_were_written(name: str) -> None:
    """A display name with quotes, commas or any script comes back unchanged."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    data = build(from_=f'"{quoted}" <news@shop.example>')
    check_wire(data)
    address = parse(data)["From"].addresses[0]
    assert address.addr_spec == "news@shop.example"
    # This parser keeps the space between two encoded words of a name, which RFC 2047
    # (section 6.2) says is none.
    assert address.display_name.replace(" ", "") == name


@settings(deadline=None)
@given(word=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=3000))
def test_long_words_never_make_long_lines(word: str) -> None:
    """A subject without a space is still within the longest line."""
    data = build(subject="S{{ word }}", fields={"word": word})
    check_wire(data)
    assert parse(data)["Subject"] == f"S{word}"


@pytest.mark.parametrize("before", range(46))
def test_every_encoded_word_has_whole_characters(before: int) -> None:
    """Each can be read by itself, and has at most 75 characters, as RFC 2047 demands."""
    text = "x" * before + "aÿß日本語\U0001f600\U0001f6ff" * 20
    words = unstructured(text).decode("ascii").split()
    assert all(len(word) <= 75 for word in words)
    coded = [word.removeprefix("=?utf-8?b?").removesuffix("?=") for word in words]
    assert "".join(base64.b64decode(word).decode() for word in coded) == text


def test_plain_text_is_folded_where_it_must_be() -> None:
    """A line is as long as it may be and no longer; reading it gives the text back."""
    words = ["x" * 37, "y" * 38, "z"]
    assert unstructured(" ".join(words)) == f"{words[0]} {words[1]}\r\n z".encode()
    assert unstructured(f"{words[0]} {words[1]}y") == f"{words[0]}\r\n {words[1]}y".encode()


@pytest.mark.parametrize(
    "text", ["Schöne Grüße aus dem Laden. " * 30, "日本語の本文です。" * 30, "ascii only", "."]
)
def test_text_alone_is_a_single_part(text: str) -> None:
    """Without HTML there is one part, in the encoding that suits its letters."""
    message = parse(build(text=text))
    assert message.get_content_type() == "text/plain"
    assert normalised(message.get_content()) == normalised(text)
    encoding = "base64" if "日" in text else "quoted-printable"
    assert message["Content-Transfer-Encoding"] == encoding


def test_html_alone_brings_its_text() -> None:
    """HTML without a text is sent with a text derived from it."""
    message = parse(build(text="", html="<p>Hi {{ name }}</p>", fields={"name": "Ann & Bo"}))
    assert message.get_content_type() == "multipart/alternative"
    plain, rich = message.iter_parts()
    assert plain.get_content() == "Hi Ann & Bo\r\n"
    assert rich.get_content() == "<p>Hi Ann &amp; Bo</p>\r\n"


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_field_never_adds_a_header(text: str) -> None:
    """Whatever a field holds, a mail program sees our headers and no other."""
    clean = parse(build(subject="{{ x }}", text="{{ x }}", fields={"x": "x"}))
    data = build(subject="{{ x }}", text="{{ x }}", fields={"x": text})
    check_wire(data)
    message = parse(data)
    assert message.keys() == clean.keys()
    assert message["Subject"] == one_line(text)
    assert message.get_content_type() == "text/plain"


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_field_never_escapes_an_unsubscribe_address(text: str) -> None:
    """An address with a line break in it is refused, not sent."""
    link = "https://shop.example/{{ x }}"
    try:
        data = build(list_unsubscribe=link, fields={"x": text})
    except UnsafeHeaderError:
        return
    message = parse(data)
    assert message.keys() == parse(build(list_unsubscribe=link)).keys()
    assert "evil" not in str(message["Bcc"])


@pytest.mark.parametrize(
    ("rendered", "field", "one_click"),
    [
        ("https://x.example/u", "<https://x.example/u>", True),
        ("http://x.example/u", "<http://x.example/u>", False),
        ("mailto:out@x.example", "<mailto:out@x.example>", False),
        ("https://x.example/ü", "<https://x.example/%C3%BC>", True),
        (
            "<https://x.example/u>, <mailto:out@x.example>",
            "<https://x.example/u>, <mailto:out@x.example>",
            True,
        ),
    ],
)
def test_unsubscribe_addresses(rendered: str, field: str, one_click: bool) -> None:  # noqa: FBT001
    """One-click unsubscription is announced where RFC 8058 allows it: with https."""
    message = parse(build(list_unsubscribe=rendered))
    assert str(message["List-Unsubscribe"]).replace(",<", ", <") == field
    assert ("List-Unsubscribe-Post" in message) is one_click


@pytest.mark.parametrize(
    "rendered",
    [
        *("{{ missing }}", "javascript:alert(1)", "https://x.example/a b", "https://x.example/<u>"),
        *("https://x.example/" + "u" * 1000, "out@x.example", "<https://x.example>, nonsense"),
    ],
)
def test_unsubscribe_address_that_is_none_is_refused(rendered: str) -> None:
    """A message whose way out does not work is not sent."""
    with pytest.raises(UnsafeHeaderError, match="list_unsubscribe"):
        build(list_unsubscribe=rendered)


@pytest.mark.parametrize(
    "name",
    [
        *("From", "to", "BCC", "Subject", "Content-Type", "Resent-To", "Received", "Message-ID"),
        *("List-Unsubscribe", "X Evil", "X:Evil", "X\r\nBcc", "", "Ü", "X" * 71),
    ],
)
def test_extra_header_names_are_checked(name: str) -> None:
    """A campaign can't give a header that is ours, nor one that is none."""
    with pytest.raises(InvalidContentError, match=r"^headers\."):
        build(headers={name: "value"})


@pytest.mark.parametrize("value", [text for text in INJECTIONS if one_line(text) != text])
def test_extra_header_values_have_no_line_breaks(value: str) -> None:
    """A header's value that holds a line break or control character is refused."""
    with pytest.raises(InvalidContentError, match=r"^headers\.X-Note"):
        build(headers={"X-Note": f"a{value}"})


def test_a_word_of_an_extra_header_fits_into_a_line() -> None:
    """One of 900 characters does, with its name; a longer one is refused."""
    word = "x" * 900
    assert parse(build(headers={"X-Note": f"a {word} b"}))["X-Note"] == f"a {word} b"
    with pytest.raises(InvalidContentError, match="more than 900 characters"):
        build(headers={"X-Note": f"a {word}x b"})


def test_a_repeated_extra_header_is_refused() -> None:
    """Names differ by more than case."""
    with pytest.raises(InvalidContentError, match="there twice"):
        build(headers={"X-Note": "a", "x-note": "b"})


def test_extra_header_value_of_any_script_is_encoded() -> None:
    """A value that is not ASCII comes back as it was."""
    assert parse(build(headers={"X-Note": "Frühling, 春"}))["X-Note"] == "Frühling, 春"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"subject": " "}, "subject"),
        ({"from_": ""}, "from"),
        ({"from_": "news"}, "from"),
        ({"from_": "zoë@shop.example"}, "from"),
        ({"from_": "a@shop.example\r\nBcc: b@shop.example"}, "from"),
        ({"reply_to": "help"}, "reply_to"),
        ({"text": ""}, "text"),
    ],
)
def test_missing_or_wrong_fields_are_named(content: dict[str, Any], field: str) -> None:
    """What an e-mail can't do without is asked for before anything is sent."""
    with pytest.raises(InvalidContentError) as caught:
        build(**content)
    assert caught.value.field == field


def test_address_with_a_local_part_of_any_script() -> None:
    """With SMTPUTF8, headers may hold the address as it is."""
    assert "To: zoë@shop.example\r\n".encode() in build("zoë@shop.example")


def test_preview_has_the_sender_and_checks_the_way_out() -> None:
    """A preview shows who sends, and fails where the message would be refused."""
    content = EmailContent(subject="Hi", text="x", from_="Shop <news@shop.example>")
    message = Message("spring", 1, "ann@shop.example", "", {}, KEY)
    assert MimeTemplate(content).preview(message).startswith("From: Shop <news@shop.example>\n")
    broken = EmailContent(subject="Hi", text="x", from_="news@shop.example", list_unsubscribe="no")
    with pytest.raises(TemplateError, match="list_unsubscribe"):
        MimeTemplate(broken).preview(message)
