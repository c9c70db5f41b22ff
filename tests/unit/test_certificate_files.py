"""Files of TLS that can't be used are refused by their setting, and never end a service."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service_runtime.certificate_files import CertificateFiles
from service_runtime.certificate_pair import UnusableFileError


def _signed(folder: Path, private: Any, *, begins: datetime | None = None) -> CertificateFiles:
    """Put a certificate and its key into files."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begin = begins or datetime.now(UTC) - timedelta(days=1)
    digest = None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=10))
        .sign(private, digest)
    )
    (folder / "crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return CertificateFiles(
        certificate=str(folder / "crt"), key=str(folder / "key"), client_ca=str(folder / "crt")
    )


@pytest.fixture
def usual(tmp_path: Path) -> CertificateFiles:
    """Return files as most people have them."""
    return _signed(tmp_path, ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    "private",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.BrainpoolP256R1()),
    ],
    ids=["ed25519", "p521", "brainpool"],
)
def test_a_kind_that_clients_of_grpc_do_not_take_is_refused(tmp_path: Path, private: Any) -> None:
    """It would be served, and no client could connect."""
    files = _signed(tmp_path, private)
    with pytest.raises(UnusableFileError, match="RSA") as refused:
        files.read()
    assert refused.value.field == "tls_certificate_file"


@pytest.mark.parametrize(
    "private",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["rsa", "p384"],
)
def test_usual_kinds_are_taken(tmp_path: Path, private: Any) -> None:
    """RSA and the curves that gRPC has."""
    assert _signed(tmp_path, private).read().end > datetime.now(UTC)


#: Where DER names the kind of a key, and the version of a certificate.
_PRIME_FIELD = bytes.fromhex("06072a8648ce3d0201")
_VERSION = bytes.fromhex("a003020102")


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (_PRIME_FIELD, bytes.fromhex("06072a8648ce3d027f")),
        (_VERSION, bytes.fromhex("a003020177")),
    ],
    ids=["kind", "version"],
)
def test_a_certificate_of_an_unknown_kind_is_refused(
    usual: CertificateFiles, written: bytes, instead: bytes
) -> None:
    """What reads it fails with errors of many kinds; a running service goes on."""
    usual.read()
    path = Path(usual.certificate)
    der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    assert written in der
    text = base64.encodebytes(der.replace(written, instead)).decode()
    path.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
    usual.client_ca = ""
    with pytest.raises(UnusableFileError) as refused:
        usual.renewed()
    assert refused.value.field == "tls_certificate_file"


def test_a_comment_in_a_bundle_of_authorities_may_have_any_letter(
    usual: CertificateFiles, tmp_path: Path
) -> None:
    """Bundles name authorities in their own languages; OpenSSL gets the certificates alone."""
    bundle = tmp_path / "bundle"
    bundle.write_text(f"# Főtanúsítvány\n{Path(usual.client_ca).read_text()}", encoding="utf-8")
    usual.client_ca = str(bundle)
    pair = usual.read()
    assert pair.client_ca is not None
    assert pair.client_ca.isascii()


def test_files_that_become_right_without_a_change_are_taken(
    usual: CertificateFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right to read that was forgotten is mended by chmod, which changes no file.

    The reason is said once.
    """
    usual.read()
    _signed(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    allowed = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "key":
            raise PermissionError(13, "Permission denied")
        return allowed(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(UnusableFileError, match="Permission denied"):
        usual.renewed()
    assert usual.renewed() is None
    monkeypatch.setattr(Path, "read_bytes", allowed)
    assert usual.renewed() is not None
    assert usual.renewed() is None
