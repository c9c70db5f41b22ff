"""The client of the keys of an organisation, which the status service has.

Every call raises a :class:`closeout.errors.ClientError` when it fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.aio.channel import ChannelOwner
from closeout.aio.stubs import AccessStub
from closeout.status.v1 import access_pb2 as pb
from closeout.times import timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import datetime, timedelta


class AccessClient(ChannelOwner[AccessStub]):
    """One method for each rpc of ``closeout.status.v1.AccessService``.

    ::

        async with AccessClient("127.0.0.1:20051") as access:
            caller = await access.get_caller()

    Its arguments are those of :class:`.channel.ChannelOwner`.
    """

    _make_stub = AccessStub

    async def get_caller(
        self,
        *,
        authorization: str = "",
        for_peer: str = "",
        organization: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.GetCallerResponse:
        """Return who this client is; or, for a service, who the caller is that it has to answer.

        Args:
            authorization: the metadata entry of that name of the call to be answered.
            for_peer: where that call comes from.
            organization: its metadata entry ``closeout-organization``.
            timeout_seconds: the deadline.

        Raises:
            PermissionDeniedError: this client asks for another, and has no scope ``service``;
                or the other may not act for that organisation.
            ResourceExhaustedError: too many keys from one address were refused.
            UnauthenticatedError: the key is missing, wrong, expired or revoked.
        """
        request = pb.GetCallerRequest(
            authorization=authorization, for_peer=for_peer, organization=organization
        )
        return await self._call(self._stub.GetCaller, request, timeout_seconds)

    async def create_key(
        self,
        *,
        name: str,
        scopes: Iterable[str],
        expire_time: datetime | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.CreateKeyResponse:
        """Make a key and return it, this once, as ``secret_key``.

        Not safe to repeat: each call makes another key.

        Args:
            name: 1 to 64 of A-Z a-z 0-9 . _ -
            scopes: what it allows: ``read``, ``report``, ``write``, ``repair``, ``admin``, and
                ``service`` by a caller who has this scope.
            expire_time: when it stops (aware); absent: never.
            timeout_seconds: the deadline.

        Raises:
            InvalidArgumentError: a field is wrong.
            PermissionDeniedError: the caller may not make such a key.
        """
        request = pb.CreateKeyRequest(name=name, scopes=scopes)
        if expire_time is not None:
            request.expire_time.CopyFrom(timestamp(expire_time))
        return await self._call(self._stub.CreateKey, request, timeout_seconds)

    async def list_keys(
        self, *, page_size: int = 0, timeout_seconds: float | None = None
    ) -> AsyncGenerator[pb.Key, None]:
        """Yield the keys of the organisation, newest first, those that ended included.

        Raises:
            InvalidArgumentError: ``page_size`` is negative.
        """
        request = pb.ListKeysRequest(page_size=page_size)
        async for page in self._pages(self._stub.ListKeys, request, timeout_seconds):
            for key in page.keys:
                yield key

    async def revoke_key(
        self, *, key_id: str, timeout_seconds: float | None = None
    ) -> pb.RevokeKeyResponse:
        """End a key for good. Safe to repeat.

        Raises:
            NotFoundError: the organisation has no such key.
        """
        request = pb.RevokeKeyRequest(key_id=key_id)
        return await self._call(self._stub.RevokeKey, request, timeout_seconds)

    async def rotate_key(
        self,
        *,
        key_id: str,
        overlap: timedelta | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.RotateKeyResponse:
        """Make a second key like one that stops after ``overlap`` (absent: a day).

        Not safe to repeat: each call makes another key.

        Raises:
            FailedPreconditionError: the key has expired or was revoked.
            InvalidArgumentError: ``overlap`` is negative, or longer than 365 days.
            NotFoundError: the organisation has no such key.
            PermissionDeniedError: the caller may not make such a key.
        """
        request = pb.RotateKeyRequest(key_id=key_id)
        if overlap is not None:
            request.overlap_seconds = int(overlap.total_seconds())
        return await self._call(self._stub.RotateKey, request, timeout_seconds)
