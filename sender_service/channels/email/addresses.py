"""E-mail addresses: checked, normalised, and in the forms that go over the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass

import email_validator

from sender_service.channels.errors import InvalidAddressError

# Mail within a company's network goes to names the world does not know, such as those below
# .local, whatever letters stand before the @. The library has no argument for that.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

#: Longest address of any channel, characters.
MAX_ADDRESS_CHARACTERS = 320

#: Addresses that need no more than their domain in lower case. What does not match
#: may still be valid: email-validator decides then.
_SIMPLE = re.compile(
    r"(?P<local>[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)"
    r"@(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63})",
)
_MAX_LOCAL = 64
_MAX_SIMPLE = 254


def check_printable(address: str) -> str:
    """Return any address without spaces around it.

    Raises:
        InvalidAddressError: it is empty, longer than 320 characters, or has characters
            that can't be printed.
    """
    address = address.strip()
    if not 0 < len(address) <= MAX_ADDRESS_CHARACTERS:
        raise InvalidAddressError(
            f"an address has 1 to {MAX_ADDRESS_CHARACTERS} characters, not {len(address)}"
        )
    if not address.isprintable():
        raise InvalidAddressError("the address has characters that can't be printed")
    return address


def check_email(address: str) -> str:
    """Return an e-mail address in the form it is sent to and deduplicated by.

    The domain is in lower case and, where internationalised, in Unicode, whichever way it
    was written. The local part stays as written, since only its server knows whether
    case matters there: ``Ann@Shop.example`` and ``ann@shop.example`` are two addresses,
    ``ann@SHOP.example`` and ``ann@shop.example`` one. DNS is not asked.

    Raises:
        InvalidAddressError: it is not an e-mail address; the text says why.
    """
    address = address.strip()
    simple = _SIMPLE.fullmatch(address)
    if simple and len(address) <= _MAX_SIMPLE and len(simple["local"]) <= _MAX_LOCAL:
        domain = simple["domain"].lower()
        # An xn-- label is decoded, and two hyphens elsewhere are checked, below.
        if "--" not in domain:
            return f"{simple['local']}@{domain}"
    return _validated(address).normalized


@dataclass(frozen=True, slots=True)
class WireAddress:
    """An address as SMTP takes it.

    Attributes:
        address: with the domain in ASCII.
        needs_smtputf8: True if the local part is not ASCII.
    """

    address: str
    needs_smtputf8: bool


#: What can stand in an envelope or a header without quoting. Checked again at the
#: moment of sending, whatever checked before: a line break here would be a command.
_SAFE = re.compile(r"[^\x00-\x20\x7f-\xa0<>()\[\]\\,:;\"@\u2028\u2029]+@[A-Za-z0-9.-]+")


def wire_address(address: str) -> WireAddress:
    """Return the address as SMTP takes it.

    Raises:
        InvalidAddressError: it can't be sent to, or it could be read as a command.
    """
    wire = address
    if not address.isascii():
        validated = _validated(address)
        wire = f"{validated.local_part}@{validated.ascii_domain}"
    if not _SAFE.fullmatch(wire):
        raise InvalidAddressError("the address has characters that can't be sent")
    return WireAddress(wire, needs_smtputf8=not wire.isascii())


_MAILBOX = re.compile(
    r"\s*(?:(?P<name>[^<>]*?)\s*<\s*(?P<bracketed>[^<>\s]+)\s*>|(?P<bare>\S+))\s*"
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with the name people see; ``name`` may be empty."""

    name: str
    address: WireAddress

    @classmethod
    def parse(cls, text: str) -> Mailbox:
        """Return the one mailbox written in ``text``, as in ``Ann <ann@shop.example>``.

        Raises:
            InvalidAddressError: it is not one mailbox; the text says why.
        """
        match = _MAILBOX.fullmatch(text)
        if not match:
            raise InvalidAddressError("expected an address, as in Shop <news@shop.example>")
        name = match["name"] or ""
        if len(name) > 1 and name.startswith('"') and name.endswith('"'):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        if not name.isprintable():
            raise InvalidAddressError("the name has characters that can't be printed")
        return cls(name, wire_address(check_email(match["bracketed"] or match["bare"])))


def _validated(address: str) -> email_validator.ValidatedEmail:
    try:
        validated = email_validator.validate_email(
            address,
            check_deliverability=False,
            globally_deliverable=False,
        )
    except email_validator.EmailNotValidError as error:
        raise InvalidAddressError(str(error)) from error
    if "." not in validated.domain:
        raise InvalidAddressError("The domain has no dot, as in shop.example.")
    return validated
