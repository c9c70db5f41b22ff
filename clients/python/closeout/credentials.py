"""What a client shows to a service: its key, and only where nobody else can read it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from closeout.tls import Tls, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import grpc

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
        if api_key and tls is None and not allow_plaintext and not is_local(target):
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
