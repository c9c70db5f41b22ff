"""TLS of the clients: which files, and credentials that follow them.

The files are read again when they change, so that a certificate can be replaced under a
running client.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

log = logging.getLogger(__name__)

#: How often a client looks whether its files have changed, seconds.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Tls:
    """How a client knows a service, and what it shows of itself.

    Attributes:
        ca_file: the certificate authorities that may have signed the certificate of the
            service, PEM; empty: those that gRPC comes with, for certificates of the
            public web.
        certificate_file: the certificate that the client shows, with its intermediate
            ones, PEM; only for services that demand one (mutual TLS).
        key_file: the private key of that certificate, PEM, without a passphrase.
    """

    ca_file: str | Path = ""
    certificate_file: str | Path = ""
    key_file: str | Path = ""


class TlsFiles:
    """The files of a :class:`Tls`, read and checked.

    Threads may share it.

    Raises:
        ValueError: a file can't be read or used, or a key has no certificate.
    """

    def __init__(self, tls: Tls) -> None:
        if bool(tls.certificate_file) != bool(tls.key_file):
            raise ValueError("tls: certificate_file and key_file go together; name both or none")
        self._tls = tls
        self._stamps = _stamps(tls)
        #: What a new channel is made with.
        self.credentials = _credentials(tls)
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def renew(self) -> bool:
        """Read the files if they have changed; return whether there are new credentials.

        Files that can't be used are logged, and change nothing. Looks at most once a
        second.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        with self._lock:
            if now - self._looked < LOOK_SECONDS:
                return False
            self._looked = now
            return self._renew()

    def _renew(self) -> bool:
        try:
            stamps = _stamps(self._tls)
            if stamps == self._stamps:
                return False
            credentials = _credentials(self._tls)
            if stamps != _stamps(self._tls):
                return False  # they are being written just now: next time
        except ValueError as error:
            log.warning("the files of TLS have changed and can't be used: %s", error)
            return False
        self._stamps, self.credentials = stamps, credentials
        return True


def _stamps(tls: Tls) -> list[tuple[int, ...]]:
    """Return what changes when a file does.

    Raises:
        ValueError: a file is not there.
    """
    stamps: list[tuple[int, ...]] = []
    for name, path in _named(tls):
        try:
            found = Path(path).stat()
        except OSError as error:
            raise ValueError(f"tls: {name} {path}: {error.strerror}") from error
        stamps.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    return stamps


def _named(tls: Tls) -> list[tuple[str, str | Path]]:
    named = [
        ("ca_file", tls.ca_file),
        ("certificate_file", tls.certificate_file),
        ("key_file", tls.key_file),
    ]
    return [(name, path) for name, path in named if path]


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return credentials of the files as they are now.

    gRPC takes any bytes, and fails at the first call; so the check is here.

    Raises:
        ValueError: a file can't be read or used.
    """
    contents = {}
    for name, path in _named(tls):
        try:
            contents[name] = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"tls: {name} {path}: {error.strerror}") from error
    _check(tls)
    return grpc.ssl_channel_credentials(
        root_certificates=contents.get("ca_file"),
        private_key=contents.get("key_file"),
        certificate_chain=contents.get("certificate_file"),
    )


def _check(tls: Tls) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file:
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(
                f"tls: ca_file {tls.ca_file}: has no certificate in PEM that can be read"
            ) from error
    if tls.certificate_file:
        try:
            # Without a passphrase at hand, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
        except (ssl.SSLError, OSError) as error:
            raise ValueError(
                f"tls: certificate_file {tls.certificate_file} and key_file {tls.key_file}:"
                " not a certificate and its private key in PEM, without a passphrase"
            ) from error
