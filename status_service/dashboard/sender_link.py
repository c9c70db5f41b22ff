"""The sender service as pages ask it: waits have a bound, and its silence breaks no page.

Only pages ask, never an open stream of a page. What a page reads is asked once for all
pages that want it at the same time, one call at a time for each campaign. A sender that
did not answer is left in peace for a moment, and its part is missing meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from weakref import WeakValueDictionary

import grpc
import structlog

from closeout.aio.channel import open_channel
from closeout.connection import call_options
from closeout.credentials import is_local
from closeout.environment import client_options
from closeout.errors import ClientError, InternalError, from_rpc_error
from closeout.sender.v1 import sender_pb2 as pb
from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub
from closeout.tls import Tls
from service_runtime.access import AUTHORIZATION
from service_runtime.caller import LONGEST_ON_BEHALF_OF, Caller, Scope
from service_runtime.errors import ServiceError, StartupError
from status_service.campaigns.wording import foreign, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from status_service.access.delegations import Delegations
    from status_service.settings import StatusSettings

log = structlog.get_logger()

#: How long a page waits for a part that it can do without, seconds.
PAGE_SECONDS: Final = 0.5
#: How long such a question lasts, for pages that come later, seconds.
_READ_SECONDS = 2.0
#: How long a sender that did not answer is not asked again, seconds.
_PEACE_SECONDS = 2.0
#: Questions at once: of everybody, and of one organisation.
_MOST_READS, _MOST_READS_OF_ONE = 64, 16
#: Resends at once, likewise.
_MOST_CHANGES, _MOST_CHANGES_OF_ONE = 16, 4
#: How long a review, and a resend, may take, seconds.
_REVIEW_SECONDS, _CHANGE_SECONDS = 10.0, 60.0
NOT_CONFIGURED: Final = "The sender was not asked: no address is configured."
SILENT: Final = "The sender does not answer; its part is missing."
UNKNOWN_THERE: Final = "The sender does not have this campaign; its part is missing."
_SILENCES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_READING, _WRITING = frozenset({Scope.READ}), frozenset({Scope.READ, Scope.WRITE})


class Answer(NamedTuple):
    """What a sender answered to a page.

    Attributes:
        message: the answer; None: there is none.
        note: why there is none, as a page says it; empty: there is one.
    """

    message: Any
    note: str = ""


class SenderRefusedError(Exception):
    """A sender did not do what a page asked for.

    Args:
        text: why, and what to do, in sentences.
        reason: its reason, or empty.
        is_silent: nobody knows whether it was done.
        has_others: of people who got the same lately, that there are others.
    """

    def __init__(
        self, text: str, *, reason: str = "", is_silent: bool = False, has_others: bool = True
    ) -> None:
        super().__init__(text)
        self.text = text
        self.reason = reason
        self.is_silent = is_silent
        self.has_others = has_others


class SenderLink:
    """Asks one sender service, or none. A context manager, which closes its connection.

    Args:
        channel: to the sender; None: no address is configured.
        delegations: what callers are shown to the sender by.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel | None,
        delegations: Delegations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._stub: Any = None if channel is None else SenderServiceStub(channel)
        self._delegations = delegations
        self._clock = clock
        self._reads: dict[tuple[str, str, str, bytes], asyncio.Task[Answer]] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._changes: Counter[str] = Counter()
        self._peace_until = -float("inf")

    @property
    def is_configured(self) -> bool:
        """Whether there is a sender to ask."""
        return self._channel is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in (tasks := list(self._reads.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    async def delivery(self, caller: Caller, campaign_id: str) -> Answer:
        """Return how the delivery of a campaign stands, a GetDeliveryResponse."""
        request = pb.GetDeliveryRequest(campaign_id=campaign_id)
        return await self._part("GetDelivery", caller, campaign_id, request)

    async def recipients(
        self, caller: Caller, campaign_id: str, sequences: Sequence[int]
    ) -> Answer:
        """Return who some messages go to, a BatchGetRecipientsResponse; 100 at most."""
        request = pb.BatchGetRecipientsRequest(campaign_id=campaign_id, sequences=sequences)
        return await self._part("BatchGetRecipients", caller, campaign_id, request)

    async def _part(self, method: str, caller: Caller, campaign_id: str, request: Any) -> Answer:
        if self._stub is None:
            return Answer(None, NOT_CONFIGURED)
        name = (caller.organisation, campaign_id, method, request.SerializeToString())
        task = self._reads.get(name)
        if task is None:
            of_one = sum(running[0] == caller.organisation for running in self._reads)
            is_full = len(self._reads) >= _MOST_READS or of_one >= _MOST_READS_OF_ONE
            if is_full or self._clock() < self._peace_until:
                return Answer(None, SILENT)
            task = asyncio.create_task(self._read(method, caller, campaign_id, request))
            self._reads[name] = task
            task.add_done_callback(partial(self._forget, name))
        await asyncio.wait({task}, timeout=PAGE_SECONDS)
        if not task.done() or task.cancelled():
            return Answer(None, SILENT)
        return task.result()

    def _forget(self, name: tuple[str, str, str, bytes], task: asyncio.Task[Answer]) -> None:
        if self._reads.get(name) is task:
            del self._reads[name]

    async def _read(self, method: str, caller: Caller, campaign_id: str, request: Any) -> Answer:
        """Return the answer to a question; whatever goes wrong is a note."""
        turn = self._turns.setdefault((caller.organisation, campaign_id), asyncio.Lock())
        try:
            async with asyncio.timeout(_READ_SECONDS), turn:
                message = await self._call(method, caller, request, _READING, _READ_SECONDS)
        except ClientError as error:
            return self._without(error.code, error.reason, error.message)
        except ServiceError as error:  # the database: the page says what is to be said of it
            return self._without(error.code, error.reason, error.message)
        except TimeoutError:
            return self._without(grpc.StatusCode.DEADLINE_EXCEEDED, "", "it took too long")
        except grpc.aio.UsageError:  # the service stops
            return Answer(None, SILENT)
        if getattr(message, "campaign_id", campaign_id) != campaign_id:
            return self._without(grpc.StatusCode.INTERNAL, "", "it answered for another campaign")
        return Answer(message)

    def _without(self, code: grpc.StatusCode, reason: str, detail: str) -> Answer:
        if code is grpc.StatusCode.NOT_FOUND:
            return Answer(None, UNKNOWN_THERE)
        if code in _SILENCES:
            self._peace_until = self._clock() + _PEACE_SECONDS
        log.warning("sender_not_asked", code=code.name, reason=reason, detail=detail[:500])
        return Answer(None, SILENT if code in _SILENCES else _refusal(reason or code.name))

    async def review(
        self, caller: Caller, request: pb.ResendCampaignRequest
    ) -> pb.ResendCampaignResponse:
        """Return what a resend would do; ``validate_only`` is set.

        Raises:
            SenderRefusedError: it can't be done, or the sender does not answer.
            StoreUnavailableError: the database does not answer.
        """
        asked = pb.ResendCampaignRequest()
        asked.CopyFrom(request)
        asked.validate_only = True
        answer: pb.ResendCampaignResponse = await self._change(
            "ResendCampaign", caller, asked, _REVIEW_SECONDS
        )
        return answer

    async def resend(
        self,
        caller: Caller,
        request: pb.ResendCampaignRequest,
        repeat: pb.StartCampaignRequest.Repeat.ValueType,
    ) -> None:
        """Make a campaign that sends another one again, and start it; safe to repeat.

        Raises:
            SenderRefusedError: it was not done, or nobody knows whether it was.
            StoreUnavailableError: the database does not answer.
        """
        await self._change("ResendCampaign", caller, request, _CHANGE_SECONDS)
        start = pb.StartCampaignRequest(campaign_id=request.campaign_id, repeat=repeat)
        await self._change("StartCampaign", caller, start, _CHANGE_SECONDS)

    async def _change(self, method: str, caller: Caller, request: Any, seconds: float) -> Any:
        of_one = self._changes[caller.organisation]
        if of_one >= _MOST_CHANGES_OF_ONE or self._changes.total() >= _MOST_CHANGES:
            raise SenderRefusedError("Other resends are under way. Try again in a moment.")
        self._changes[caller.organisation] += 1
        try:
            return await self._call(method, caller, request, _WRITING, seconds)
        except ClientError as error:
            raise _refused(error) from error
        finally:
            self._changes[caller.organisation] -= 1
            self._changes += Counter()  # without those that are 0

    async def _call(
        self,
        method: str,
        caller: Caller,
        request: Any,
        scopes: frozenset[Scope],
        seconds: float,
    ) -> Any:
        """Make one call for a caller.

        Raises:
            ClientError: it failed.
            StoreUnavailableError: the database does not answer.
        """
        shown = await self._delegations.authorization(caller, scopes)
        # Before the first key the claim is all that the audit trail can have.
        claim = "" if shown else caller.actor[:LONGEST_ON_BEHALF_OF].strip()
        metadata = [*call_options(claim).get("metadata", ())]
        if shown:
            metadata.append((AUTHORIZATION, shown))
        try:
            message = await getattr(self._stub, method)(request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        if message is None:  # gRPC has logged why
            raise InternalError(
                "the sender's answer can't be read; give it the version of the status service"
            )
        return message


def _refusal(reason: str) -> str:
    return f"The sender answers {reason}; its part is missing."


def _refused(error: ClientError) -> SenderRefusedError:
    if error.code in _SILENCES and not error.reason:
        return SenderRefusedError(
            "The sender does not answer. Try again in a moment: the same form makes one campaign,"
            " however often it is sent.",
            is_silent=True,
        )
    repeated = error.metadata.get("repeated", "")
    return SenderRefusedError(
        sentence(foreign(error.message)),
        reason=error.reason,
        is_silent=error.code in _SILENCES,
        has_others=not repeated or repeated != error.metadata.get("total"),
    )


def to_sender(settings: StatusSettings, delegations: Delegations) -> SenderLink:
    """Return the link to the sender that the settings name.

    Raises:
        StartupError: a file of TLS can't be used, or credentials would go in plain text to
            another machine.
    """
    address = settings.sender_address
    try:
        options = client_options(
            prefix="[status] sender_",
            tls=settings.sender_tls,
            files=Tls(
                ca_file=settings.sender_tls_ca_file,
                certificate_file=settings.sender_tls_certificate_file,
                key_file=settings.sender_tls_key_file,
            ),
        )
    except ValueError as error:
        raise StartupError(f"the sender can't be called: {error}") from error
    if not address:
        return SenderLink(None, delegations)
    if options["tls"] is None and not options["allow_plaintext"] and not is_local(address):
        raise StartupError(
            f"[status] sender_address: pages would ask {address} in plain text, names of people"
            " included; set sender_tls_ca_file, or sender_tls = false where the network is yours"
        )
    return SenderLink(open_channel(address, tls=options["tls"]), delegations)
