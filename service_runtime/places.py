"""Settings that name a place: where a service listens, its peer, its database."""

from __future__ import annotations

import re
from typing import Annotated

import pydantic

from service_runtime.database_url import check_url
from service_runtime.errors import StartupError

_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_LAST_PORT = 65_535
#: How a key, or a certificate or private key in PEM, begins.
_CONTENT = re.compile(r"-----BEGIN|closeout_[a-z2-7]{12}_|.*\n")


def is_listen_address(text: str) -> bool:
    """Return whether ``text`` is HOST:PORT or [HOST]:PORT with a port up to 65535."""
    found = _LISTEN.fullmatch(text)
    return found is not None and int(found[2]) <= _LAST_PORT


def _listen(text: str) -> str:
    if not is_listen_address(text):
        raise ValueError(f"expected HOST:PORT, as in 127.0.0.1:20051{_got(text)}")
    return text


def _listen_or_not(text: str) -> str:
    return _listen(text) if text else text


def _peer(text: str) -> str:
    """Check an address only where it can be wrong: gRPC takes many forms of names."""
    for part in text.split(","):
        if ("/" not in part and not is_listen_address(part)) or "@" in part:
            raise ValueError(
                "expected HOST:PORT, several of them with commas between,"
                f" or dns:///HOST:PORT{_got(text)}"
            )
    return text


def _got(text: str) -> str:
    """Return what was given for a message; what may have a login in it is not shown."""
    return "" if "@" in text else f" (got {text!r})"


def _file(text: str) -> str:
    if _CONTENT.match(text):
        raise ValueError("expected the path of a file, and not what is in it")
    return text


def _peer_or_not(text: str) -> str:
    return _peer(text) if text else text


def _database(url: str) -> str:
    try:
        check_url(url)
    except StartupError as error:
        raise ValueError(str(error)) from error
    return url


#: Where a service listens: HOST:PORT.
ListenAddress = Annotated[str, pydantic.AfterValidator(_listen)]
#: Where a service listens, HOST:PORT; empty: nowhere.
OptionalListenAddress = Annotated[str, pydantic.AfterValidator(_listen_or_not)]
#: Where another service is, in the forms that gRPC takes.
PeerAddress = Annotated[str, pydantic.AfterValidator(_peer)]
#: Where another service is; empty: it is not called.
OptionalPeerAddress = Annotated[str, pydantic.AfterValidator(_peer_or_not)]
#: The path of a file with a key or a certificate; messages about it show the path.
FileName = Annotated[str, pydantic.AfterValidator(_file)]
#: The URL of a database of a supported kind.
DatabaseUrl = Annotated[str, pydantic.AfterValidator(_database)]


def check_ports(listen: str, http_listen: str) -> None:
    """Check that gRPC and HTTP have a port each; port 0 is any free one.

    Raises:
        ValueError: they have the same one; the text says what to do.
    """
    if listen == http_listen and not listen.endswith(":0"):
        raise ValueError(
            f"listen and http_listen are both {listen}; gRPC and HTTP need a port each: change one"
        )
