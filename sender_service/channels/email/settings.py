"""How the SMTP server is reached: the table ``[smtp]``."""

from __future__ import annotations

import enum
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Annotated

import pydantic

from sender_service.channels.errors import ChannelNotConfiguredError
from service_runtime.settings import Section

_SUBMISSIONS_PORT = 465
_SUBMISSION_PORT = 587
_SMTP_PORT = 25


class Security(enum.Enum):
    """How the connection is protected."""

    #: TLS from the start on port 465; plain to this machine itself; else STARTTLS,
    #: which the server must offer.
    AUTO = "auto"
    #: Plain, whoever may listen.
    NONE = "none"
    #: STARTTLS; a server that does not offer it is not used.
    STARTTLS = "starttls"
    #: TLS from the start.
    TLS = "tls"


def _host(text: str) -> str:
    if not text.isprintable() or set(text) & set("@/ "):
        raise ValueError(
            "expected the name of a server, as in mail.example.com; the login goes into username"
            " and password"
        )
    return text


class SmtpSettings(Section):
    """The table ``[smtp]``."""

    #: The server. Without one, the channel can't be used.
    host: Annotated[str, pydantic.AfterValidator(_host)] = ""
    #: Its port; 0: 465 with tls, 25 when plain, 587 otherwise.
    port: int = pydantic.Field(default=0, ge=0, le=65535)
    #: How the connection is protected.
    security: Security = Security.AUTO
    #: Who logs in, with ``password``; empty: nobody.
    username: str = ""
    #: The password of ``username``.
    password: pydantic.SecretStr = pydantic.SecretStr("")
    #: Whether the server must prove with its certificate that it is ``host``.
    verify_certificates: bool = True
    #: Certificates to trust beside those of the system, a PEM file.
    ca_file: Path | None = None
    #: Connections kept to the server; each carries one message at a time.
    connections: int = pydantic.Field(default=10, ge=1, le=1000)
    #: The longest one message may take, connecting included.
    timeout_seconds: float = pydantic.Field(default=30.0, gt=0, le=600)
    #: After so many messages a connection is closed, as many servers ask for.
    messages_per_connection: int = pydantic.Field(default=500, ge=1)
    #: A connection unused for longer is not used again: it may be dead without a sign.
    max_idle_seconds: float = pydantic.Field(default=30.0, gt=0)
    #: The name sent in EHLO; empty: that of this machine, if it is a full one.
    local_hostname: str = pydantic.Field(default="", pattern=r"^[!-~]*$")

    @property
    def effective_security(self) -> Security:
        """What ``security`` comes down to for this server; never AUTO."""
        if self.security is not Security.AUTO:
            return self.security
        if self.port == _SUBMISSIONS_PORT:
            return Security.TLS
        return Security.NONE if _is_loopback(self.host) else Security.STARTTLS

    @property
    def effective_port(self) -> int:
        """The port that is connected to."""
        if self.port:
            return self.port
        return {
            Security.TLS: _SUBMISSIONS_PORT,
            Security.NONE: _SMTP_PORT,
        }.get(self.effective_security, _SUBMISSION_PORT)

    @property
    def effective_local_hostname(self) -> str:
        """The name sent in EHLO. Found without DNS, which may not answer."""
        name = self.local_hostname or socket.gethostname()
        return name if self.local_hostname or "." in name else "[127.0.0.1]"

    def tls_context(self) -> ssl.SSLContext:
        """Return what TLS to the server is made with.

        Raises:
            ChannelNotConfiguredError: ``ca_file`` can't be read.
        """
        context = ssl.create_default_context()
        if not self.verify_certificates:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.ca_file is not None:
            try:
                context.load_verify_locations(cafile=self.ca_file)
            except OSError as error:
                raise ChannelNotConfiguredError(f"smtp.ca_file {self.ca_file}: {error}") from error
        return context


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
