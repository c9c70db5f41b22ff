"""A certificate and its private key in files: read together, and checked before use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from typing import TypeAlias

_Stamps: TypeAlias = "tuple[tuple[int, ...] | None, ...]"

#: What is raised for bytes that are no certificate or key, or one of an unknown kind.
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)
#: The curves that every client of gRPC takes; with others it takes no connection at all.
_CURVES = (ec.SECP256R1, ec.SECP384R1)


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
        leaf = _certificates("tls_certificate_file", self.certificate, certificate)[0]
        if client_ca is not None:
            found = _certificates("tls_client_ca_file", self.client_ca, client_ca)
            # Without what stands around them: comments, in whatever encoding.
            client_ca = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in found)
        self._check_kind(leaf)
        self._check_key(key, leaf)
        self._check_dates(leaf)
        return Pair(certificate, key, client_ca, leaf.not_valid_after_utc)

    def _check_kind(self, leaf: x509.Certificate) -> None:
        try:
            public = leaf.public_key()
        except _UNREADABLE:
            public = None
        curve = public.curve if isinstance(public, ec.EllipticCurvePublicKey) else None
        if not isinstance(public, rsa.RSAPublicKey) and not isinstance(curve, _CURVES):
            raise UnusableFileError(
                "tls_certificate_file",
                self.certificate,
                "clients of gRPC take no certificate of this kind; take one with RSA, or with"
                " ECDSA on P-256 or P-384",
            )

    def _check_key(self, key: bytes, leaf: x509.Certificate) -> None:
        try:
            private = serialization.load_pem_private_key(key, password=None)
            public = _raw(private.public_key())
        except TypeError as error:
            raise UnusableFileError(
                "tls_key_file", self.key, "the key has a passphrase; name one without"
            ) from error
        except _UNREADABLE as error:
            raise UnusableFileError(
                "tls_key_file", self.key, "has no private key in PEM; name the right file"
            ) from error
        if public != _raw(leaf.public_key()):
            raise UnusableFileError(
                "tls_key_file",
                self.key,
                f"is not the key of the first certificate in {self.certificate};"
                " name two files that belong together",
            )

    def _check_dates(self, leaf: x509.Certificate) -> None:
        now = datetime.now(UTC)
        if leaf.not_valid_after_utc <= now:
            raise UnusableFileError(
                "tls_certificate_file",
                self.certificate,
                f"the certificate ended at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}; renew it",
            )
        if leaf.not_valid_before_utc > now:
            raise UnusableFileError(
                "tls_certificate_file",
                self.certificate,
                f"the certificate begins at {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ};"
                " set the clock, or take one that is valid now",
            )


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


def _certificates(field: str, path: str, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except _UNREADABLE as error:
        raise UnusableFileError(
            field, path, "has no certificate in PEM; name the right file"
        ) from error


def _raw(public: object) -> bytes:
    """Return a public key in a form that can be compared."""
    key: bytes = public.public_bytes(  # type: ignore[attr-defined] # every kind of key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return key
