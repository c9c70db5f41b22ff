"""Who calls this sender: the status service is asked, and its answers are kept for a while."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from closeout.errors import ClientError, InvalidArgumentError
from sender_service.campaigns.shared_checks import SharedChecks
from sender_service.campaigns.status_account import is_about_a_key, unreachable
from sender_service.errors import ServiceKeyError, StatusServiceUnavailableError
from service_runtime.caller import DEFAULT_ORGANISATION, Caller, Scope
from service_runtime.errors import (
    InvalidRequestError,
    KeyExpiredError,
    KeyInvalidError,
    KeyMalformedError,
    KeyMissingError,
    KeyRevokedError,
    ScopeMissingError,
    ServiceError,
    TooManyAttemptsError,
)
from service_runtime.sampled_log import SampledLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from closeout.status.v1.access_pb2 import GetCallerResponse
    from sender_service.access.met_keys import MetKeys
    from sender_service.campaigns.status_account import StatusAccount
    from service_runtime.access import Credentials

#: How long nobody asks again after the status service did not answer, seconds.
_AGAIN_SECONDS = 1.0
#: Answers that are kept, at most; the one that was needed longest ago goes first.
MOST_ANSWERS: Final = 10_000
_REFUSALS: Final[dict[str, type[ServiceError]]] = {
    kind.reason: kind
    for kind in (
        KeyMissingError,
        KeyMalformedError,
        KeyInvalidError,
        KeyExpiredError,
        KeyRevokedError,
        TooManyAttemptsError,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLimits:
    """How long a caller is taken for who it was.

    Attributes:
        kept_seconds: how long an answer of the status service is taken for true.
        grace_seconds: how much longer while the status service does not answer.
        recheck_seconds: how often an upload asks whether its key still holds.
    """

    kept_seconds: float = 5.0
    grace_seconds: float = 60.0
    recheck_seconds: float = 5.0


@dataclass(slots=True)
class _Answer:
    caller: Caller
    #: When the status service gave it, and when it is to be asked again.
    given: float
    ask_again: float


class AskingAccess:
    """Knows callers by what the status service says of their keys.

    An answer holds for a few seconds, and for longer while the status service does not
    answer. After that nobody is known, and calls are refused with UNAVAILABLE. Only a sender
    that never met a key serves everybody as ``default`` then, as it does while the status
    service has none.

    Args:
        account: the status service.
        met_keys: whether this sender ever met a key.
        limits: how long an answer holds.
        clock: a clock that never goes back, seconds.
    """

    def __init__(
        self,
        account: StatusAccount,
        met_keys: MetKeys,
        *,
        limits: CallerLimits = CallerLimits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._account = account
        self._met_keys = met_keys
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._asking: SharedChecks[Caller] = SharedChecks()
        self._unknown_log = SampledLog("caller_unknown", clock)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller, with the claim of this call.

        Raises:
            ServiceError: UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED, with the
                reason that the status service gives; UNAVAILABLE if it does not answer.
        """
        name = _name_of(credentials)
        answer = self._answers.get(name)
        if answer is not None and self._clock() < answer.ask_again:
            self._answers.move_to_end(name)
            caller = answer.caller
        else:
            caller = await self._asking.run(name, partial(self._ask, name, credentials))
        return replace(caller, on_behalf_of=credentials.on_behalf_of)

    async def _ask(self, name: str, credentials: Credentials) -> Caller:
        begin = self._clock()
        try:
            try:
                found = await self._account.caller_of(credentials)
            except ClientError as error:
                if not _is_refusal(error):
                    raise
                # The answer to a bad key of the sender looks the same; and where that has
                # been replaced only now, the caller's was never looked at.
                await self._met_keys.note()
                await self._account.check_key()
                found = await self._account.caller_of(credentials)
        except ClientError as error:
            if _is_refusal(error):
                self._answers.pop(name, None)
                raise _refusal(error) from error
            return await self._without_answer(name, credentials, unreachable(error))
        except StatusServiceUnavailableError as failure:
            return await self._without_answer(name, credentials, failure)
        if found.key_id:
            await self._met_keys.note()
        caller = _caller(found, credentials)
        self._answers[name] = _Answer(caller, begin, begin + self._limits.kept_seconds)
        self._answers.move_to_end(name)
        if len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)
        return caller

    async def _without_answer(
        self, name: str, credentials: Credentials, failure: StatusServiceUnavailableError
    ) -> Caller:
        """Return the caller by an older answer, or refuse the call."""
        kept = self._answers.get(name)
        now = self._clock()
        holds = self._limits.kept_seconds + self._limits.grace_seconds
        if kept is not None and now < kept.given + holds:
            kept.ask_again = min(now + _AGAIN_SECONDS, kept.given + holds)
            return kept.caller
        self._answers.pop(name, None)
        if await self._met_keys.ever():
            self._unknown_log.add(reason=failure.message)
            raise _nobody_known(failure) from failure
        if credentials.organization not in {"", DEFAULT_ORGANISATION}:
            raise ScopeMissingError(Scope.SERVICE) from failure
        return Caller(DEFAULT_ORGANISATION, actor=credentials.peer)


def _name_of(credentials: Credentials) -> str:
    """Return under which name an answer is kept: never the key itself."""
    if not credentials.authorization:
        return f"{credentials.organization} {credentials.peer}"
    digest = hashlib.sha256(credentials.authorization.encode()).hexdigest()
    return f"{credentials.organization} {digest}"


def _caller(found: GetCallerResponse, credentials: Credentials) -> Caller:
    known = {scope.value for scope in Scope}
    return Caller(
        found.organization or DEFAULT_ORGANISATION,
        actor=found.actor or credentials.peer,
        scopes=frozenset(Scope(scope) for scope in found.scopes if scope in known),
        key_id=found.key_id,
        key_name=found.key_name,
    )


def _is_refusal(error: ClientError) -> bool:
    """Return whether the status service answered, and refuses a key or what comes with it."""
    is_invalid = isinstance(error, InvalidArgumentError)
    return is_about_a_key(error) or (is_invalid and error.reason == InvalidRequestError.reason)


def _refusal(error: ClientError) -> ServiceError:
    """Return the refusal of a caller's key as this service raises it."""
    if error.reason == ScopeMissingError.reason:
        return ScopeMissingError(error.metadata.get("scope", Scope.SERVICE))
    kind = _REFUSALS.get(error.reason, InvalidRequestError)
    return kind(
        error.message,
        metadata=error.metadata,
        fields=error.field_violations,
        retry_after_seconds=error.retry_after_seconds,
    )


def _nobody_known(failure: StatusServiceUnavailableError) -> StatusServiceUnavailableError:
    """Return the error for a caller of whom nobody can be asked."""
    if isinstance(failure, ServiceKeyError):
        return failure
    return StatusServiceUnavailableError(
        "the sender can't ask the status service who calls; try again in a moment",
        metadata=failure.metadata,
        retry_after_seconds=failure.retry_after_seconds,
    )
