"""A certificate and its private key in files: read together, and checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service_runtime.certificate_pair import Pair, UnusableFileError

if TYPE_CHECKING:
    from typing import TypeAlias

_Stamps: TypeAlias = "tuple[tuple[int, ...] | None, ...]"


class CertificateFiles:
    """The files of one service. Its methods read them: call them in a thread.

    Args:
        certificate: the path of the certificate.
        key: that of its private key.
        client_ca: that of the authorities of clients; empty: none.
    """

    def __init__(self, *, certificate: str, key: str, client_ca: str) -> None:
        self.certificate = certificate
        self.key = key
        self.client_ca = client_ca
        self._seen: _Stamps = ()
        #: Why the files were refused when they were read last; empty: they were taken.
        self._refused = ""

    def read(self) -> Pair:
        """Return what the files have.

        Raises:
            UnusableFileError: one can't be read or used, or they do not fit, or the
                certificate is not in date.
        """
        self._seen = self._stamps()
        return self._read()

    def renewed(self) -> Pair | None:
        """Return what the files have if they have changed since; None if they have not.

        Files that change while they are read are read the next time. Files that were
        refused are read each time: what was wrong, as with a right to read them or a date,
        can become right without a change of the files.

        Raises:
            UnusableFileError: as :meth:`read`; once for each change and reason.
        """
        stamps = self._stamps()
        if stamps == self._seen and not self._refused:
            return None
        try:
            pair = self._read()
        except UnusableFileError as error:
            if stamps != self._stamps():
                return None
            known = (self._seen, self._refused) == (stamps, str(error))
            self._seen, self._refused = stamps, str(error)
            if known:
                return None
            raise
        if stamps != self._stamps():
            return None
        self._seen, self._refused = stamps, ""
        return pair

    def _stamps(self) -> _Stamps:
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca) if path)

    def _read(self) -> Pair:
        certificate = _bytes("tls_certificate_file", self.certificate)
        key = _bytes("tls_key_file", self.key)
        client_ca = _bytes("tls_client_ca_file", self.client_ca) if self.client_ca else None
        # Slow to import, and many services have no certificate.
        from service_runtime import certificate_checks  # noqa: PLC0415 - see above

        return certificate_checks.checked(self, certificate, key, client_ca)


def _stamp(path: str) -> tuple[int, ...] | None:
    """Return what changes when a file does, or when a link to it is moved."""
    try:
        found = Path(path).stat()
    except OSError:
        return None  # what reads it says why
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _bytes(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        remedy = (
            "let the user of the service read it"
            if isinstance(error, PermissionError)
            else "name a file that is there"
        )
        raise UnusableFileError(
            field,
            path,
            f"{error.strerror}; {remedy}",
            unreadable=isinstance(error, PermissionError),
        ) from error
