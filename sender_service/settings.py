"""The settings of the sender service: ``CLOSEOUT_SENDER_…`` or ``[sender]``.

Each installed channel has a table as well, under its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self

import pydantic
from pydantic import Field

from service_runtime.call_limits import MOST_CALLS, MOST_SENDING, MOST_STREAMS
from service_runtime.errors import StartupError
from service_runtime.places import (
    DatabaseUrl,
    FileName,
    ListenAddress,
    OptionalListenAddress,
    PeerAddress,
    check_ports,
)
from service_runtime.settings import Section, Switch
from service_runtime.tls import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What the service is called in what it says to people.
HOLDER = "sender service"
#: A lease must outlive two renewals that fail.
_LEASE_HEARTBEATS = 3


def _seconds_or_off(given: Any) -> Any:
    """Take ``off``, and ``false`` of a file, for never.

    Raises:
        ValueError: it is ``0``, which may mean both at once and never, or ``true``.
    """
    if given is False or given == "off":
        return None
    if given is True or given in (0, "0"):
        raise ValueError("a number of seconds from 1, or off: nothing is ever held")
    return given


#: Seconds, or None for ``off``.
SecondsOrOff = Annotated[
    Annotated[float, Field(ge=1)] | None, pydantic.BeforeValidator(_seconds_or_off)
]


class SenderSettings(TlsSettings):
    """The table ``[sender]``."""

    #: Streams of all callers together; one organisation gets half of them, one connection a
    #: quarter, and less while others have some.
    max_streams: int = Field(default=MOST_STREAMS, ge=4)
    #: Other calls that are answered at once, shared in the same way.
    max_calls: int = Field(default=MOST_CALLS, ge=4)
    #: Streams of UploadRecipients of one organisation; a connection gets half of them. Each
    #: may have a message of 4 MiB on its way.
    max_sending_streams: int = Field(default=MOST_SENDING, ge=2)

    #: Where gRPC listens, HOST:PORT. Port 0: any free one, printed on standard output.
    listen: ListenAddress = "127.0.0.1:20052"
    #: Where HTTP listens: health and metrics; HOST:PORT, port 0: any free one; empty: nowhere.
    http_listen: OptionalListenAddress = "127.0.0.1:20081"
    #: Whether anybody may scrape ``/metrics``; else, on an address that other machines reach,
    #: a key with the scope read is needed.
    metrics_open: bool = False
    #: Serve others than this machine although there is no key.
    allow_without_keys: bool = False
    #: Serve others than this machine although nothing encrypts what is said.
    allow_plaintext: bool = False
    #: The database, ``sqlite:///PATH``.
    database_url: DatabaseUrl = "sqlite:///closeout-sender.db"
    #: The status service, HOST:PORT.
    status_address: PeerAddress = "127.0.0.1:20051"
    #: The key with scopes report, write and service that the sender shows to the status
    #: service; empty: none.
    status_api_key: pydantic.SecretStr = pydantic.SecretStr("")
    #: The file that has this key instead; it is read again when it changes.
    status_api_key_file: FileName = ""
    #: Whether the status service is called by TLS; absent: if a file below is named. ``off``
    #: says that plain calls are meant, and lets the key go in plain text to another machine.
    status_tls: Switch = None
    #: The authorities that sign the certificate of the status service, PEM; empty: those of
    #: the public web.
    status_tls_ca_file: FileName = ""
    #: The certificate that the sender shows, PEM, for a status service that demands one.
    status_tls_certificate_file: FileName = ""
    #: The private key of that certificate, PEM, without a passphrase.
    status_tls_key_file: FileName = ""
    #: Once the status service was not heard for so long, seconds, nothing more is handed to
    #: providers until it has said again how each campaign stands; ``off``: sending goes on.
    hold_after_seconds: SecondsOrOff = 60
    #: How long a shard stays with an instance that gives no sign of life, seconds.
    #: A channel whose calls may take longer makes it longer.
    lease_seconds: float = Field(default=30, gt=0)
    #: How often a lease is renewed, seconds; at most a third of ``lease_seconds``.
    heartbeat_seconds: float = Field(default=10, gt=0)
    #: Messages of a shard: what one claim works through.
    shard_size: int = Field(default=5_000, ge=1, le=100_000)
    #: How many campaigns are sent at the same time on one channel. Further ones
    #: take turns with them.
    concurrent_campaigns: int = Field(default=8, ge=1)
    #: How long messages whose data is sent, and running calls, may take after a stop
    #: signal, seconds.
    grace_seconds: float = Field(default=10, ge=0)
    #: If the provider takes no message of a campaign for this long, its unsent messages fail,
    #: hours.
    unreachable_deadline_hours: float = Field(default=72, gt=0)
    #: No try of a message is planned for later than this after its first, where its campaign has
    #: no deadline, hours.
    retry_deadline_hours: float = Field(default=24, gt=0)
    #: A campaign whose results the status service lost is reported again for so long
    #: after its end, days.
    replay_days: int = Field(default=7, ge=0, le=3_650)
    #: The content of a campaign is removed so long after it ended, days; 0: never.
    content_keep_days: int = Field(default=0, ge=0, le=36_500)
    #: The recipients of a campaign are removed so long after it ended, with what became of
    #: their messages, days; 0: never. More than ``replay_days``.
    recipients_keep_days: int = Field(default=0, ge=0, le=36_500)

    @pydantic.model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease_seconds < _LEASE_HEARTBEATS * self.heartbeat_seconds:
            raise ValueError(
                f"lease_seconds must be at least {_LEASE_HEARTBEATS} times heartbeat_seconds"
            )
        if 0 < self.recipients_keep_days <= self.replay_days:
            raise ValueError(
                "recipients_keep_days must be 0 or more than replay_days: what became of their"
                " messages is reported again for so long"
            )
        check_ports(self.listen, self.http_listen)
        return self


class LogSettings(Section):
    """The table ``[log]``."""

    #: What is logged: debug, info, warning or error.
    level: Literal["debug", "info", "warning", "error"] = "info"


class Configured(Protocol):
    """A class with a table of settings: a channel."""

    #: The name of the table.
    name: ClassVar[str]
    #: Its settings.
    settings_model: ClassVar[type[Section]]


class Settings(pydantic.BaseModel):
    """All settings the sender service reads, but for those of its channels."""

    sender: SenderSettings = SenderSettings()
    log: LogSettings = LogSettings()

    def of_channel(self, channel: type[Configured]) -> Section:
        """Return the settings of a channel; its defaults where none are set."""
        settings = getattr(self, channel.name, None)
        return settings if isinstance(settings, Section) else channel.settings_model()


def settings_model(channels: Mapping[str, type[Configured]]) -> type[Settings]:
    """Return the model with a table for each channel, for ``service_runtime.settings.load``."""
    tables: dict[str, Any] = {
        name: (channel.settings_model, channel.settings_model())
        for name, channel in channels.items()
    }
    return pydantic.create_model("SenderServiceSettings", __base__=Settings, **tables)


def database_url(settings: Settings) -> str:
    """Return the URL of a database that a sender can be on.

    Raises:
        StartupError: it can't.
    """
    url = settings.sender.database_url
    if url.startswith("postgresql"):
        # Nothing takes over the campaigns of another instance yet.
        raise StartupError("[sender] database_url: the sender runs on sqlite:///PATH only")
    return url
