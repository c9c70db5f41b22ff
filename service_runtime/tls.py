"""TLS of a service: its certificate for gRPC and HTTP, read again when its files change."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import grpc
import pydantic
import structlog

from service_runtime import settings
from service_runtime.certificate_files import CertificateFiles
from service_runtime.certificate_pair import Pair, UnusableFileError
from service_runtime.errors import StartupError
from service_runtime.places import FileName

log = structlog.get_logger()

#: How often the files are looked at, seconds.
LOOK_SECONDS = 1.0
#: A certificate that ends within so long is a warning.
SOON = timedelta(days=14)
#: How often the warning is repeated, seconds.
_WARNING_SECONDS = 86_400.0


class TlsSettings(settings.Section):
    """What a service needs to serve TLS, on both of its ports."""

    #: The certificate, with its intermediate ones, PEM; empty: no TLS.
    tls_certificate_file: FileName = ""
    #: The private key of the certificate, PEM, without a passphrase.
    tls_key_file: FileName = ""
    #: The authorities that sign the certificates of clients, PEM; a client without one is
    #: refused (mutual TLS). Empty: clients need none.
    tls_client_ca_file: FileName = ""

    @pydantic.model_validator(mode="after")
    def _files_belong_together(self) -> Self:
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise ValueError("tls_certificate_file and tls_key_file go together; set both or none")
        if self.tls_client_ca_file and not self.tls_certificate_file:
            raise ValueError(
                "tls_client_ca_file needs tls_certificate_file and tls_key_file; set them as well"
            )
        return self


@dataclass(frozen=True, slots=True)
class _Serving:
    """A pair in the forms that the two servers take."""

    pair: Pair
    of_grpc: grpc.ServerCertificateConfiguration
    of_http: ssl.SSLContext


class ServerTls:
    """The TLS of one service, on or off.

    Args:
        section: the table of its settings, for messages.
        configured: the settings.

    Raises:
        StartupError: a file can't be used; the text names it and its setting.
    """

    def __init__(self, section: str, configured: TlsSettings) -> None:
        self._section = section
        self._files: CertificateFiles | None = None
        self._serving: _Serving | None = None
        #: What the last handshake of gRPC was given.
        self._given: _Serving | None = None
        self._warned: float | None = None
        if configured.tls_certificate_file:
            self._files = _files(configured)
            try:
                self._serving = _forms(self._files, self._files.read())
            except UnusableFileError as error:
                place = settings.place(section, error.field)
                raise StartupError(f"{place}: {error}") from error

    @classmethod
    async def load(cls, section: str, configured: TlsSettings) -> Self:
        """Return the TLS of a service; the files are read in a thread.

        Raises:
            StartupError: as the constructor.
        """
        return await asyncio.to_thread(cls, section, configured)

    @property
    def on(self) -> bool:
        """Whether the service speaks TLS."""
        return self._serving is not None

    @property
    def http_scheme(self) -> str:
        """What the URLs of the service begin with."""
        return "https" if self.on else "http"

    def certificate_end(self) -> datetime | None:
        """Return until when the certificate that is served is valid; None without TLS."""
        return self._serving.pair.end if self._serving is not None else None

    def of_grpc(self) -> grpc.ServerCredentials | None:
        """Return the credentials of the port of gRPC; None: it is a plain one."""
        if self._serving is None or self._files is None:
            return None
        self._given = self._serving
        return grpc.dynamic_ssl_server_credentials(
            self._serving.of_grpc,
            self._news,  # type: ignore[arg-type] # None is allowed, says gRPC
            require_client_authentication=bool(self._files.client_ca),
        )

    def _news(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what a handshake of gRPC takes, in a thread of gRPC; None: as before."""
        serving = self._serving
        if serving is None or serving is self._given:
            return None
        self._given = serving
        return serving.of_grpc

    def of_http(self) -> ssl.SSLContext | None:
        """Return the context of the port of HTTP; None: it is a plain one."""
        if self._serving is None:
            return None
        entrance = self._serving.of_http
        entrance.sni_callback = self._newest
        return entrance

    def _newest(self, connection: ssl.SSLObject, _name: str, entrance: ssl.SSLContext) -> None:
        """Let a handshake of HTTP go on with the files of now: it is asked for at each."""
        if self._serving is not None and self._serving.of_http is not entrance:
            connection.context = self._serving.of_http

    async def follow(self) -> None:
        """Take new files when they are there, and warn before a certificate ends.

        Runs until cancelled; returns at once without TLS. Files that can't be used are
        logged, and the pair before them stays.
        """
        while self._files is not None:
            self._warn()
            await asyncio.sleep(LOOK_SECONDS)
            try:
                found = await asyncio.to_thread(self._renewed, self._files)
            except UnusableFileError as error:
                log.warning(
                    "certificate_refused",
                    setting=f"[{self._section}] {error.field}",
                    reason=str(error),
                    certificate_end=self.certificate_end(),
                    detail="the certificate before it is served until the files are right",
                )
                continue
            if found is not None:
                self._serving, self._warned = found, None
                log.info("certificate_replaced", certificate_end=found.pair.end)

    def _renewed(self, files: CertificateFiles) -> _Serving | None:
        """Return what new files have; None if there are none.

        Raises:
            UnusableFileError: they can't be used; raised once.
        """
        pair = files.renewed()
        return None if pair is None else _forms(files, pair)

    def _warn(self) -> None:
        end = self.certificate_end()
        now = asyncio.get_running_loop().time()
        if end is None or end - datetime.now(UTC) > SOON:
            return
        if self._warned is not None and now - self._warned < _WARNING_SECONDS:
            return
        self._warned = now
        log.warning(
            "certificate_ends_soon",
            setting=f"[{self._section}] tls_certificate_file",
            certificate_end=end,
            days_left=max(0, (end - datetime.now(UTC)).days),
            detail="replace the files; a running service takes them by itself",
        )


def problems(section: str, configured: TlsSettings, *, startable: bool) -> list[str]:
    """Return a line if a file can't be used.

    Args:
        section: the table of the settings.
        configured: the settings.
        startable: whether this user must be able to read the files, as the service must.
    """
    if not configured.tls_certificate_file:
        return []
    files = _files(configured)
    try:
        _forms(files, files.read())
    except UnusableFileError as error:
        if error.unreadable and not startable:
            return []
        return [f"{settings.place(section, error.field)}: {error}"]
    return []


def _files(configured: TlsSettings) -> CertificateFiles:
    return CertificateFiles(
        certificate=configured.tls_certificate_file,
        key=configured.tls_key_file,
        client_ca=configured.tls_client_ca_file,
    )


def _forms(files: CertificateFiles, pair: Pair) -> _Serving:
    """Return a pair for both servers.

    Raises:
        UnusableFileError: OpenSSL does not take what was read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Files again, as Python takes no bytes here; a pair that has changed since is
        # refused, or read once more in a second. A passphrase is never asked for.
        context.load_cert_chain(files.certificate, files.key, password="")
        if pair.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=pair.client_ca.decode("ascii"))
    except (ssl.SSLError, OSError, UnicodeDecodeError) as error:
        raise UnusableFileError(
            "tls_certificate_file", files.certificate, f"OpenSSL refuses it: {error}"
        ) from error
    return _Serving(
        pair=pair,
        of_grpc=grpc.ssl_server_certificate_configuration(
            [(pair.key, pair.certificate)], root_certificates=pair.client_ca
        ),
        of_http=context,
    )
