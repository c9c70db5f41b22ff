"""Check a certificate and its key before a service takes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service_runtime.certificate_pair import Pair, UnusableFileError

#: What is raised for bytes that are no certificate or key, or one of an unknown kind.
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)
#: The curves that every client of gRPC takes; with others it takes no connection at all.
_CURVES = (ec.SECP256R1, ec.SECP384R1)


class FileNames(Protocol):
    """The paths of the files of a service, as settings have them."""

    certificate: str
    key: str
    client_ca: str


def checked(files: FileNames, certificate: bytes, key: bytes, client_ca: bytes | None) -> Pair:
    """Return what files have, as it can be served.

    Args:
        files: their names, for messages.
        certificate: what the file of the certificate has.
        key: that of its key.
        client_ca: that of the authorities of clients; None: there is none.

    Raises:
        UnusableFileError: one can't be used, or they do not fit, or the certificate is not
            in date.
    """
    leaf = _certificates("tls_certificate_file", files.certificate, certificate)[0]
    if client_ca is not None:
        found = _certificates("tls_client_ca_file", files.client_ca, client_ca)
        # Without what stands around them: comments, in whatever encoding.
        client_ca = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in found)
    _check_kind(files, leaf)
    _check_key(files, key, leaf)
    _check_dates(files, leaf)
    return Pair(certificate, key, client_ca, leaf.not_valid_after_utc)


def _check_kind(files: FileNames, leaf: x509.Certificate) -> None:
    try:
        public = leaf.public_key()
    except _UNREADABLE:
        public = None
    curve = public.curve if isinstance(public, ec.EllipticCurvePublicKey) else None
    if not isinstance(public, rsa.RSAPublicKey) and not isinstance(curve, _CURVES):
        raise UnusableFileError(
            "tls_certificate_file",
            files.certificate,
            "clients of gRPC take no certificate of this kind; take one with RSA, or with"
            " ECDSA on P-256 or P-384",
        )


def _check_key(files: FileNames, key: bytes, leaf: x509.Certificate) -> None:
    try:
        private = serialization.load_pem_private_key(key, password=None)
        public = _raw(private.public_key())
    except TypeError as error:
        raise UnusableFileError(
            "tls_key_file", files.key, "the key has a passphrase; name one without"
        ) from error
    except _UNREADABLE as error:
        raise UnusableFileError(
            "tls_key_file", files.key, "has no private key in PEM; name the right file"
        ) from error
    if public != _raw(leaf.public_key()):
        raise UnusableFileError(
            "tls_key_file",
            files.key,
            f"is not the key of the first certificate in {files.certificate};"
            " name two files that belong together",
        )


def _check_dates(files: FileNames, leaf: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc <= now:
        raise UnusableFileError(
            "tls_certificate_file",
            files.certificate,
            f"the certificate ended at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}; renew it",
        )
    if leaf.not_valid_before_utc > now:
        raise UnusableFileError(
            "tls_certificate_file",
            files.certificate,
            f"the certificate begins at {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ};"
            " set the clock, or take one that is valid now",
        )


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
