"""What can be wrong with a mail server, or with this sender in its eyes."""

from __future__ import annotations

from sender_service.channels.contract import Fault
from sender_service.domain import ProblemKind

_SENDER_SETTING = "content.from of the campaign, or [smtp] username"


def _defers(summary: str, setting: str = "") -> Fault:
    return Fault(ProblemKind.PROVIDER_DEFERS, summary, setting)


def _refuses(summary: str, setting: str = "") -> Fault:
    return Fault(ProblemKind.PROVIDER_REFUSES, summary, setting, needs_attention=True)


WAIT = _defers("the mail server asks the sender to wait")
LIMIT = _defers("the sender has reached its sending limit at the mail server")
LOGIN_LATER = _defers("the mail server can't check the sender's login now")
TLS_LATER = _defers("the mail server can't use TLS now")
SENDER_UNKNOWN = _defers("the mail server can't verify the sender address", _SENDER_SETTING)

LOGIN_REFUSED = _refuses(
    "the mail server refuses the login of {username}", "[smtp] username, password"
)
APP_PASSWORD = _refuses(
    "the mail server takes only an application password of {username}; create one there",
    "[smtp] password",
)
LOGIN_DISABLED = _refuses(
    "the mail server does not allow {username} to log in over SMTP; allow it there",
    "[smtp] username",
)
LOGIN_NEEDED = _refuses(
    "the mail server asks the sender to log in first", "[smtp] username, password"
)
NO_LOGIN = _refuses(
    "port {port} of {host} offers no login that the sender knows; set smtp.security to"
    " starttls, use port 587 or 465, or leave smtp.username empty",
    "[smtp] security, port, username",
)
TLS_NEEDED = _refuses(
    "the mail server takes mail over TLS only; set smtp.security to starttls", "[smtp] security"
)
NO_TLS = _refuses(
    "{host} does not offer STARTTLS on port {port}; set smtp.security to tls for a TLS port,"
    " or to none to send in the clear",
    "[smtp] security",
)
TURNED_AWAY = _refuses("the mail server turns the sender away")
NAME_REFUSED = _refuses(
    "the mail server refuses the name that the sender gives in EHLO", "[smtp] local_hostname"
)
SENDER_REFUSED = _refuses("the mail server refuses the sender address", _SENDER_SETTING)
RELAY_REFUSED = _refuses(
    "the mail server does not relay for this sender; it may want a login",
    "[smtp] username, password",
)
DOMAIN_UNPROVEN = _refuses(
    "mail of the sender's domain is refused, since SPF, DKIM, DMARC or reverse DNS fails;"
    " correct its DNS records",
    "content.from of the campaign",
)
ADDRESS_BLOCKED = _refuses(
    "the mail server blocks this sender's IP address or domain; ask its operator to lift the block"
)
ACCOUNT_BLOCKED = _refuses(
    "the mail server has blocked the sender's account; ask its operator to lift the block"
)
