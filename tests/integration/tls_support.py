"""A certificate authority of the test, and certificates in files as services want them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from closeout import Tls


class Authority:
    """Signs certificates and puts them into files of a folder.

    Attributes:
        ca_file: its own certificate.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca_file = folder / f"{name}.pem"
        replace(self.ca_file, self.ca.cert_pem.bytes())

    def issue(self, name: str, *identities: str, days: float = 90, begun: float = 1) -> Issued:
        """Make a certificate and put it into files.

        Args:
            name: of the files.
            identities: whom it is for; by default this machine.
            days: how long it is valid from now; may be negative.
            begun: since how many days it is valid; may be negative.
        """
        now = datetime.now(UTC)
        leaf = self.ca.issue_cert(
            *(identities or ("127.0.0.1", "localhost")),
            not_before=now - timedelta(days=begun),
            not_after=now + timedelta(days=days),
        )
        issued = Issued(self, self.folder / f"{name}.crt", self.folder / f"{name}.key")
        # A client may see one new file beside an old one; no call may fail for it.
        replace(issued.certificate, b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        replace(issued.key, leaf.private_key_pem.bytes())
        return issued


class Issued:
    """A certificate and its key.

    Attributes:
        certificate: the file of the certificate.
        key: the file of the key.
    """

    def __init__(self, authority: Authority, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key
        self._authority = authority

    def settings(self, *, client_ca: Authority | None = None) -> dict[str, Any]:
        """Return the settings of a service with it; ``client_ca`` makes TLS mutual."""
        return {
            "tls_certificate_file": str(self.certificate),
            "tls_key_file": str(self.key),
            "tls_client_ca_file": str(client_ca.ca_file) if client_ca else "",
        }

    def of_client(self) -> Tls:
        """Return the TLS of a client that shows it, and trusts who signed it."""
        return Tls(
            ca_file=self._authority.ca_file, certificate_file=self.certificate, key_file=self.key
        )


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another one at once, as tools that renew certificates do."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    os.replace(fresh, path)  # noqa: PTH105 - says what it does
