"""Addresses: what is accepted, what two spellings have in common, what goes out."""

from __future__ import annotations

import pytest

from sender_service.channels.email.addresses import (
    Mailbox,
    check_email,
    check_printable,
    wire_address,
)
from sender_service.channels.errors import InvalidAddressError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ann@shop.example", "ann@shop.example"),
        ("  Ann.Lee+news@SHOP.Example ", "Ann.Lee+news@shop.example"),
        ("o'hara@shop.example", "o'hara@shop.example"),
        ("ann@bücher.example", "ann@bücher.example"),
        ("ann@BÜCHER.example", "ann@bücher.example"),
        ("ann@xn--bcher-kva.example", "ann@bücher.example"),
        ("zoë@shop.example", "zoë@shop.example"),
        ("ann@mail.corp.local", "ann@mail.corp.local"),
        ("zoë@mail.corp.local", "zoë@mail.corp.local"),
        ("ann@bücher.local", "ann@bücher.local"),
        ("ann@shop.test", "ann@shop.test"),
        ("zoë@shop.test", "zoë@shop.test"),
    ],
)
def test_email_is_normalised(given: str, kept: str) -> None:
    """The domain is lower case and in Unicode, the local part stays as it was written."""
    assert check_email(given) == kept
    assert check_email(kept) == kept


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "ann@",
        "@shop.example",
        "ann@shop",
        "ann@@shop.example",
        "ann lee@shop.example",
        '"ann lee"@shop.example',
        "ann@[192.0.2.1]",
        "ann..lee@shop.example",
        "ann@-shop.example",
        "ann@shop..example",
        "ann@" + "a" * 64 + ".example",
        "ann@" + "a." * 130 + "example",
        "Ann <ann@shop.example>",
        "ann@shop.example, bo@shop.example",
        "ann@shop.example\r\nRCPT TO:<bo@shop.example>",
        "ann@shop.example\x00",
        "ann\n@shop.example",
    ],
)
def test_what_is_no_email_address_is_refused(address: str) -> None:
    """An address that no server would take is an error before anything is sent."""
    with pytest.raises(InvalidAddressError):
        check_email(address)


def test_wire_form_has_an_ascii_domain() -> None:
    """An internationalised domain goes out in its ASCII form and asks for nothing more."""
    wire = wire_address("ann@bücher.example")
    assert (wire.address, wire.needs_smtputf8) == ("ann@xn--bcher-kva.example", False)


def test_wire_form_of_a_local_part_that_is_not_ascii_needs_smtputf8() -> None:
    """Only a server with SMTPUTF8 can take such a local part."""
    wire = wire_address("zoë@bücher.example")
    assert (wire.address, wire.needs_smtputf8) == ("zoë@xn--bcher-kva.example", True)


@pytest.mark.parametrize(
    "address",
    [
        "ann@shop.example\r\nDATA",
        "ann@shop.example>",
        "ann@shop.example SIZE=1",
        "<ann@shop.example",
        "ann\x00@shop.example",
        "ann\u2028@shop.example",
        "ann",
        "",
    ],
)
def test_wire_form_is_checked_whatever_was_checked_before(address: str) -> None:
    """No address can end the SMTP command it stands in."""
    with pytest.raises(InvalidAddressError):
        wire_address(address)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ann@shop.example", "", "ann@shop.example"),
        ("<ann@shop.example>", "", "ann@shop.example"),
        ("Ann Lee <ann@shop.example>", "Ann Lee", "ann@shop.example"),
        ('"Lee, \\"Ann\\"" <ann@shop.example>', 'Lee, "Ann"', "ann@shop.example"),
        ("Bücher <news@bücher.example>", "Bücher", "news@xn--bcher-kva.example"),
    ],
)
def test_mailbox_is_parsed(text: str, name: str, address: str) -> None:
    """From and Reply-To may carry a name."""
    box = Mailbox.parse(text)
    assert (box.name, box.address.address) == (name, address)


@pytest.mark.parametrize("name", ['"', '"Ann', 'Ann"', 'Ann "the boss"', '"Ann" Lee', "A"])
def test_a_name_that_is_not_in_quotes_as_a_whole_stays(name: str) -> None:
    """Quotes are taken off where they surround the name, and are part of it elsewhere."""
    assert Mailbox.parse(f"{name} <ann@shop.example>").name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ann",
        "Ann <ann>",
        "ann@shop.example, bo@shop.example",
        "Ann <ann@shop.example>, Bo <bo@shop.example>",
        "Ann\r\nBcc: bo@shop.example <ann@shop.example>",
        "Ann <ann@shop.example>\r\nBcc: bo@shop.example",
    ],
)
def test_what_is_not_one_mailbox_is_refused(text: str) -> None:
    """From and Reply-To name exactly one address."""
    with pytest.raises(InvalidAddressError):
        Mailbox.parse(text)


def test_other_channels_take_anything_printable() -> None:
    """What an address is, a webhook's server knows."""
    assert check_printable(" +49 170 1234567 ") == "+49 170 1234567"
    for address in ("", " ", "a" * 321, "a\nb", "a\x00"):
        with pytest.raises(InvalidAddressError):
            check_printable(address)


def test_the_longest_address_of_any_channel() -> None:
    """320 characters: 64, an at sign and 255."""
    assert check_printable("a" * 320) == "a" * 320


def test_the_longest_address_of_a_mailbox() -> None:
    """254 characters (RFC 5321, section 4.5.3.1.3); one more is refused."""
    domain = f"{'a.' * 120}example"
    address = f"{'b' * (253 - len(domain))}@{domain}"
    assert len(address) == 254
    assert check_email(address) == address
    with pytest.raises(InvalidAddressError):
        check_email(f"b{address}")
