"""What a client shows to a service: its key, and only where nobody else can read it."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from closeout.tls import LOOK_SECONDS, Tls, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import grpc

log = logging.getLogger(__name__)

#: A key, or what returns the one to use now; it is called for every call.
ApiKey: TypeAlias = "str | Callable[[], str]"
#: Entries of metadata.
Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

_AUTHORIZATION = "authorization"
#: What metadata can carry in one word.
_KEY = re.compile(r"[\x21-\x7e]+")
#: Forms of a target that name addresses of this machine by themselves.
_SOCKETS = ("unix:", "unix-abstract:")
_RESOLVERS = re.compile(r"(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)")


class Credentials:
    """The key and TLS of one channel; its ``repr`` shows neither.

    Args:
        target: where the channel leads.
        api_key: the key; empty: none.
        tls: the files of TLS; None: no TLS.
        allow_plaintext: whether the key may travel in plain text to another machine.

    Raises:
        ValueError: the key can't be one, a file can't be used, or the key would travel
            in plain text.
    """

    def __init__(
        self, target: str, api_key: ApiKey, tls: Tls | None, *, allow_plaintext: bool
    ) -> None:
        self._api_key = api_key
        self._files = TlsFiles(tls) if tls is not None else None
        if sends_in_plain_text(target, api_key, tls, allow_plaintext=allow_plaintext):
            raise ValueError(
                f"the key would go to {target} in plain text, for anybody on the way to read;"
                " use TLS: tls=Tls(ca_file=...), or allow_plaintext=True where the network is"
                " yours"
            )
        if isinstance(api_key, str) and api_key:
            checked(api_key)

    @classmethod
    def wanted(
        cls, target: str, api_key: ApiKey, tls: Tls | None, *, allow_plaintext: bool
    ) -> Self | None:
        """Return credentials, or None where there is neither a key nor TLS.

        Raises:
            ValueError: as the constructor.
        """
        if not api_key and tls is None:
            return None
        return cls(target, api_key, tls, allow_plaintext=allow_plaintext)

    @property
    def of_channel(self) -> grpc.ChannelCredentials | None:
        """What a new channel is made with; None: it is a plain one."""
        return self._files.credentials if self._files is not None else None

    def renew(self) -> bool:
        """Return whether files have changed, so that a new channel is due."""
        return self._files is not None and self._files.renew()

    def metadata(self, given: Any) -> Metadata:
        """Return the metadata of a call: what the caller gave, and the key.

        Raises:
            ValueError: the key can't be one.
        """
        entries: Iterable[tuple[str, str | bytes]] = given or ()
        key = self._api_key if isinstance(self._api_key, str) else self._api_key()
        if not key:
            return tuple(entries)
        return (*entries, (_AUTHORIZATION, f"Bearer {checked(key)}"))


class FixedKey:
    """A key that its ``repr`` does not show.

    Args:
        key: the key.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self) -> str:
        """Return the key."""
        return self._key

    def __repr__(self) -> str:
        return "FixedKey(...)"


class KeyFile:
    """A key in a file, read again when the file changes; threads may share it.

    A file that can't be used later is logged, and the key before it stays.

    Args:
        path: a file with nothing else in it, but for a line end.

    Raises:
        ValueError: the file can't be read, or has no key.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._stamp = _stamp(self._path)
        self._key = _read_key(self._path)
        self._looked = time.monotonic()

    def __call__(self) -> str:
        """Return the key; looks for a new one at most once a second."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            try:
                stamp = _stamp(self._path)
                if stamp != self._stamp:
                    self._key, self._stamp = _read_key(self._path), stamp
            except ValueError as error:
                log.warning("the file of the key has changed and can't be used: %s", error)
        return self._key

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r})"


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise ValueError(f"file of the key {path}: {error.strerror}; name one that is there") from (
            error
        )
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read_key(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ValueError(
            f"file of the key {path}: {error.strerror}; let this user read it"
        ) from error
    except UnicodeDecodeError:
        text = ""
    if not _KEY.fullmatch(text):
        raise ValueError(
            f"file of the key {path}: has no key; put what `closeout keys create` printed into it"
        )
    return text


def checked(key: str) -> str:
    """Return ``key`` if metadata can carry it.

    Raises:
        ValueError: it can't; the text does not show it.
    """
    # gRPC would refuse it as well, and print it.
    if not _KEY.fullmatch(key):
        raise ValueError(
            "api_key must be printable ASCII without blanks, as `closeout keys create` printed"
            " it; it is never shown here"
        )
    return key


def sends_in_plain_text(
    target: str, api_key: ApiKey, tls: Tls | None, *, allow_plaintext: bool
) -> bool:
    """Return whether a key would go to another machine in plain text by mistake."""
    return bool(api_key) and tls is None and not allow_plaintext and not is_local(target)


def is_local(target: str) -> bool:
    """Return whether what goes to ``target`` stays on this machine, all of its addresses."""
    if target.startswith(_SOCKETS):
        return True
    return all(_is_loopback(part) for part in _RESOLVERS.sub("", target, count=1).split(","))


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
