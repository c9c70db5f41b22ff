"""A certificate with its private key, and the error of files that have none to use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class UnusableFileError(Exception):
    """A file can't be used.

    Args:
        field: the setting that names it.
        path: the file.
        reason: why, and what to do.
        unreadable: whether this user may not read it, and another one perhaps may.
    """

    def __init__(self, field: str, path: str, reason: str, *, unreadable: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.field = field
        self.unreadable = unreadable


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, its key, and the authorities of clients.

    Attributes:
        certificate: the certificate and its intermediate ones, PEM.
        key: the private key, PEM.
        client_ca: the authorities that sign certificates of clients, PEM; None: clients
            need no certificate.
        end: until when the certificate is valid.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    end: datetime
