"""What a request about keys must be before anything is done with it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from service_runtime.validation import Validation
from status_service.access.key_service import NewKeyOrder
from status_service.access.names import NAME_RULE, is_key_name, is_organisation

if TYPE_CHECKING:
    from closeout.status.v1 import access_pb2
    from service_runtime.access import Credentials
    from service_runtime.pages import PageRequest

_KEY_ID = re.compile(r"[a-z2-7]{12}")
_SCOPES = {scope.value: scope for scope in Scope}
#: Scopes that one request may name: no more exist.
_MOST_SCOPES = len(_SCOPES)
#: How long the former key stays valid unless the request says otherwise, and at most, seconds.
_OVERLAP_SECONDS = 24 * 3600
_LONGEST_OVERLAP_SECONDS = 365 * 24 * 3600
#: The longest texts of a call that are passed on in a request, characters.
_LONGEST_AUTHORIZATION = 1_000
_LONGEST_PEER = 200
_SHOWN = 100


def new_key(request: access_pb2.CreateKeyRequest) -> NewKeyOrder:
    """Return the key that is to be made.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    with Validation() as check:
        if not is_key_name(request.name):
            check.refuse("name", f"{request.name[:_SHOWN]!r} is not {NAME_RULE}")
        scopes = _scopes(check, request)
        expire_time: datetime | None = None
        if request.HasField("expire_time"):
            expire_time = check.timestamp("expire_time", request.expire_time)
    return NewKeyOrder(request.name, scopes, expire_time)


def _scopes(check: Validation, request: access_pb2.CreateKeyRequest) -> frozenset[Scope]:
    if not request.scopes:
        check.refuse("scopes", f"required; name at least one of {', '.join(_SCOPES)}")
    if len(request.scopes) > _MOST_SCOPES:
        check.refuse("scopes", f"{len(request.scopes)} given; name each once")
        return frozenset()
    for index, name in enumerate(request.scopes):
        if name not in _SCOPES:
            known = ", ".join(_SCOPES)
            check.refuse(f"scopes[{index}]", f"{name[:_SHOWN]!r} is not one of {known}")
    check.unique("scopes", request.scopes)
    return frozenset(_SCOPES[name] for name in request.scopes if name in _SCOPES)


def key_page(request: access_pb2.ListKeysRequest) -> PageRequest:
    """Return which page of the list is asked for.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    with Validation() as check:
        return check.page(request.page_size, request.page_token, default=100)


def key_id(request: access_pb2.RevokeKeyRequest) -> str:
    """Return the key that a request names.

    Raises:
        InvalidRequestError: that is no id of a key.
    """
    with Validation() as check:
        _check_key_id(check, request.key_id)
    return request.key_id


def rotation(request: access_pb2.RotateKeyRequest) -> tuple[str, timedelta]:
    """Return the key that is to be replaced, and how long it stays valid.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    overlap = request.overlap_seconds if request.HasField("overlap_seconds") else _OVERLAP_SECONDS
    with Validation() as check:
        _check_key_id(check, request.key_id)
        check.number("overlap_seconds", overlap, least=0, most=_LONGEST_OVERLAP_SECONDS)
    return request.key_id, timedelta(seconds=overlap)


def _check_key_id(check: Validation, text: str) -> None:
    """Refuse what is no id; a whole key is not repeated in the refusal."""
    if not text:
        check.refuse("key_id", "required; closeout keys list shows the ids")
    elif not _KEY_ID.fullmatch(text):
        check.refuse(
            "key_id",
            "not the id of a key: the 12 characters after closeout_; closeout keys list shows it",
        )


def of_another_call(
    request: access_pb2.GetCallerRequest, credentials: Credentials
) -> Credentials | None:
    """Return the credentials of the call that a service has to answer; None: it asks for itself.

    Args:
        request: the request.
        credentials: those of the service.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    if not (request.authorization or request.for_peer or request.organization):
        return None
    with Validation() as check:
        # Nothing of it is repeated in a refusal.
        if len(request.authorization) > _LONGEST_AUTHORIZATION:
            check.refuse("authorization", f"longer than {_LONGEST_AUTHORIZATION} characters")
        check.text("for_peer", request.for_peer, longest=_LONGEST_PEER, required=True)
        if request.organization and not is_organisation(request.organization):
            check.refuse("organization", f"not {NAME_RULE}")
    return type(credentials)(
        authorization=request.authorization,
        organization=request.organization,
        on_behalf_of=credentials.on_behalf_of,
        peer=request.for_peer,
    )
