"""Where a running service is found, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service_runtime.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Running:
    """A service that serves.

    Attributes:
        address: HOST:PORT it listens on.
        port: the port of it.
        http_address: HOST:PORT where HTTP listens; empty: nowhere.
        http_scheme: what its URLs begin with: ``http``, or ``https`` with TLS.
        readiness: whether it can do its work now.
    """

    address: str
    port: int
    http_address: str
    http_scheme: str
    readiness: Readiness
