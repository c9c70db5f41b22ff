"""The settings of the status service: ``CLOSEOUT_STATUS_…`` or ``[status]``."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

import pydantic
from pydantic import Field

from service_runtime.call_limits import MOST_CALLS, MOST_SENDING, MOST_STREAMS
from service_runtime.places import (
    DatabaseUrl,
    FileName,
    ListenAddress,
    OptionalListenAddress,
    OptionalPeerAddress,
    check_ports,
)
from service_runtime.settings import Section, Switch
from service_runtime.tls import TlsSettings
from status_service.retention.removal import Expiry

#: What the service is called in what it says to people.
HOLDER = "status service"


class StatusSettings(TlsSettings):
    """The table ``[status]``."""

    #: Streams of all callers together; one organisation gets half of them, one connection a
    #: quarter, and less while others have some.
    max_streams: int = Field(default=MOST_STREAMS, ge=4)
    #: Other calls that are answered at once, shared in the same way.
    max_calls: int = Field(default=MOST_CALLS, ge=4)
    #: Streams of ReportResults of one organisation; a connection gets half of them. Each may have
    #: a message of 4 MiB on its way.
    max_sending_streams: int = Field(default=MOST_SENDING, ge=2)

    #: Where gRPC listens, HOST:PORT. Port 0: any free one, named on standard output.
    listen: ListenAddress = "127.0.0.1:20051"
    #: Where HTTP listens: pages, JSON, health and metrics; HOST:PORT, port 0: any free one;
    #: empty: nowhere.
    http_listen: OptionalListenAddress = "127.0.0.1:20080"
    #: Whether anybody may scrape ``/metrics``; else, on an address that other machines reach,
    #: a key with the scope read is needed.
    metrics_open: bool = False
    #: Serve others than this machine although there is no key.
    allow_without_keys: bool = False
    #: Serve others than this machine although nothing encrypts what is said.
    allow_plaintext: bool = False
    #: The database: ``sqlite:///PATH``, or ``postgresql://USER@HOST/DATABASE``, which
    #: any number of instances can share.
    database_url: DatabaseUrl = "sqlite:///closeout-status.db"
    #: A campaign with more messages is not started.
    largest_total: int = Field(default=100_000_000, ge=1, le=2**53)
    #: How often the reconcile pass checks open campaigns, seconds.
    reconcile_interval_seconds: float = Field(default=30, gt=0)
    #: A campaign without a new result for longer than this is stalled, seconds.
    stall_threshold_seconds: float = Field(default=300, gt=0)
    #: The results of a campaign are removed so long after it ended, days; 0: never.
    results_keep_days: int = Field(default=0, ge=0, le=36_500)
    #: The events of a campaign are removed so long after it ended, days; 0: never.
    events_keep_days: int = Field(default=0, ge=0, le=36_500)
    #: Events may go to addresses of private networks, and by http://.
    webhooks_allow_private: bool = False
    #: The sender service that pages ask and that resends, in the forms that gRPC takes;
    #: empty: none is asked.
    sender_address: OptionalPeerAddress = ""
    #: Whether the sender is called by TLS; absent: if a file below is named. ``off`` says
    #: that plain calls are meant, also to another machine.
    sender_tls: Switch = None
    #: The authorities that sign the certificate of the sender, PEM; empty: those of the
    #: public web.
    sender_tls_ca_file: FileName = ""
    #: The certificate that the status service shows, PEM, for a sender that demands one.
    sender_tls_certificate_file: FileName = ""
    #: The private key of that certificate, PEM, without a passphrase.
    sender_tls_key_file: FileName = ""
    #: How long running calls and queued results may go on after a stop signal, seconds.
    grace_seconds: float = Field(default=10, ge=0)
    #: On PostgreSQL, a connection is closed after about so long, and its calls begin
    #: again on any instance, seconds: instances that were added get their share.
    connection_age_seconds: float = Field(default=1_800, gt=0)
    #: At most so many results are written in one transaction.
    commit_results: int = Field(default=10_000, ge=1)
    #: At most so many frames wait for each connection that writes; then senders wait.
    queue_frames: int = Field(default=40, ge=1)

    @pydantic.model_validator(mode="after")
    def _ports_differ(self) -> Self:
        check_ports(self.listen, self.http_listen)
        return self

    @property
    def expiry(self) -> Expiry:
        """How long what is kept of campaigns that have ended."""
        return Expiry(results=_days(self.results_keep_days), events=_days(self.events_keep_days))


def _days(number: int) -> timedelta | None:
    return timedelta(days=number) if number else None


class LogSettings(Section):
    """The table ``[log]``."""

    #: What is logged: debug, info, warning or error.
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(pydantic.BaseModel):
    """All settings the status service reads."""

    status: StatusSettings = StatusSettings()
    log: LogSettings = LogSettings()
