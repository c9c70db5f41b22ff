"""The status service as this sender calls it: with its key, for one organisation at a time.

Without a key of its own the sender serves the organisation ``default`` alone, and says no
organisation: that is what a status service without keys expects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from closeout.aio import AccessClient, StatusClient
from closeout.errors import (
    ClientError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
)
from sender_service.campaigns.status_problems import KEY_SETTING
from sender_service.campaigns.traced_status import TracedStatusClient
from sender_service.errors import ServiceKeyError, StatusServiceUnavailableError
from service_runtime.caller import DEFAULT_ORGANISATION, LONGEST_ON_BEHALF_OF, Scope

if TYPE_CHECKING:
    from closeout.aio.channel import Channel
    from closeout.status.v1.access_pb2 import GetCallerResponse
    from service_runtime.access import Credentials
    from service_runtime.caller import Caller

#: Deadline of a question who somebody is, seconds.
ASK_SECONDS: Final = 3.0
#: What the sender's own key has to allow.
NEEDED_SCOPES: Final = frozenset({Scope.REPORT, Scope.WRITE, Scope.SERVICE})
_REMEDY: Final = (
    f"put a key with the scopes {', '.join(sorted(NEEDED_SCOPES))} into the file of {KEY_SETTING};"
    " it is read again by itself"
)
#: Reasons that concern a key.
_KEY_REASONS: Final = frozenset(
    {
        "KEY_MISSING",
        "KEY_MALFORMED",
        "KEY_INVALID",
        "KEY_EXPIRED",
        "KEY_REVOKED",
        "SCOPE_MISSING",
        "TOO_MANY_ATTEMPTS",
    }
)


class StatusAccount:
    """Makes clients of the status service, each for one organisation.

    Args:
        channel: to the status service; it shows the sender's key, if there is one.
        has_key: whether a key of the sender is configured.
    """

    def __init__(self, channel: Channel, *, has_key: bool) -> None:
        self._client = TracedStatusClient(channel)
        self._access = AccessClient(channel, timeout_seconds=ASK_SECONDS)
        self.has_key = has_key

    def client(self, organisation: str, caller: Caller | None = None) -> StatusClient:
        """Return a client whose calls are made for an organisation, on behalf of its caller.

        Raises:
            ServiceKeyError: the sender has no key, and can't act for anybody but ``default``.
        """
        client = self._client.acting_for(on_behalf_of(caller))
        if self.has_key:
            return client.in_organization(organisation)
        if organisation != DEFAULT_ORGANISATION:
            raise ServiceKeyError(
                f"the sender has no key, and may not act for {organisation}; {_REMEDY}"
            )
        return client

    async def caller_of(self, credentials: Credentials) -> GetCallerResponse:
        """Ask who the caller with some credentials is.

        Raises:
            ClientError: the call failed; an answer about a key has one of its reasons.
        """
        return await self._access.get_caller(
            authorization=credentials.authorization,
            for_peer=credentials.peer,
            organization=credentials.organization,
        )

    async def check_key(self) -> None:
        """Check that the status service takes the sender's own key, and that it suffices.

        Raises:
            ServiceKeyError: it does not; the text says what to do.
            StatusServiceUnavailableError: the status service does not answer.
        """
        try:
            found = await self._access.get_caller()
        except ClientError as error:
            if is_about_a_key(error):
                raise ServiceKeyError(key_refused(error)) from error
            raise unreachable(error) from error
        missing = NEEDED_SCOPES - set(found.scopes)
        if found.key_id and missing:
            raise ServiceKeyError(
                f"the sender's key lacks the scopes {', '.join(sorted(missing))}; {_REMEDY}"
            )


def on_behalf_of(caller: Caller | None) -> str:
    """Return what the audit trail of the status service is to have about a caller.

    That is who it is by its key, and its own claim after that, as much as there is room for:
    ``key:shop for ops@host``. Of a caller without a key its claim alone.
    """
    if caller is None:
        return ""
    if not caller.key_id:
        return caller.on_behalf_of
    claim = f" for {caller.on_behalf_of}" if caller.on_behalf_of else ""
    return f"{caller.actor}{claim}"[:LONGEST_ON_BEHALF_OF].strip()


def is_about_a_key(error: ClientError) -> bool:
    """Return whether the status service answered, and refused a key."""
    kinds = (UnauthenticatedError, PermissionDeniedError, ResourceExhaustedError)
    return isinstance(error, kinds) and error.reason in _KEY_REASONS


def key_refused(error: ClientError) -> str:
    """Return why the sender's own key is refused, and what to do."""
    return f"it refuses the sender's key with {error.reason}; {_REMEDY}"


def unreachable(error: ClientError) -> StatusServiceUnavailableError:
    """Return the error of a sender whose status service does not answer."""
    return StatusServiceUnavailableError(
        f"the status service does not answer: {error.message}",
        metadata={"cause": error.message, "code": error.code.name},
        retry_after_seconds=error.retry_after_seconds or 1.0,
    )
