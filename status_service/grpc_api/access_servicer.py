"""AccessService on gRPC: who calls, and the keys of an organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from closeout.status.v1 import access_pb2, access_pb2_grpc
from service_runtime.access import Credentials, require
from service_runtime.caller import Scope, caller_of
from status_service.grpc_api import key_validation
from status_service.grpc_api.messages import to_timestamp

if TYPE_CHECKING:
    from service_runtime.caller import Caller
    from status_service.access.delegations import Delegations
    from status_service.access.key_access import KeyAccess
    from status_service.access.key_service import KeyService
    from status_service.access.key_store import Key

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    """The calls of ``protos/closeout/status/v1/access.proto``, which says what each promises.

    Args:
        access: knows callers.
        service: manages keys.
        delegations: knows callers of a sender, by keys and by what pages show it.
    """

    def __init__(self, access: KeyAccess, service: KeyService, delegations: Delegations) -> None:
        self._access = access
        self._service = service
        self._delegations = delegations

    async def GetCaller(  # noqa: D102, N802
        self, request: access_pb2.GetCallerRequest, context: _Context
    ) -> access_pb2.GetCallerResponse:
        credentials = Credentials.of(context.invocation_metadata() or (), context.peer())
        caller = await self._access.authenticate(credentials)
        asked = key_validation.of_another_call(request, credentials)
        if asked is None:
            return _to_caller(caller)
        if caller.key_id:  # before the first key, everybody is answered the same
            require(caller, Scope.SERVICE)
        return _to_caller(await self._delegations.authenticate(asked))

    async def CreateKey(  # noqa: D102, N802
        self, request: access_pb2.CreateKeyRequest, context: _Context
    ) -> access_pb2.CreateKeyResponse:
        made = await self._service.create(caller_of(context), key_validation.new_key(request))
        return access_pb2.CreateKeyResponse(key=_to_key(made.key), secret_key=made.secret.text)

    async def ListKeys(  # noqa: D102, N802
        self, request: access_pb2.ListKeysRequest, context: _Context
    ) -> access_pb2.ListKeysResponse:
        page = await self._service.list_keys(caller_of(context), key_validation.key_page(request))
        return access_pb2.ListKeysResponse(
            keys=map(_to_key, page.rows), next_page_token=page.next_page_token
        )

    async def RevokeKey(  # noqa: D102, N802
        self, request: access_pb2.RevokeKeyRequest, context: _Context
    ) -> access_pb2.RevokeKeyResponse:
        key = await self._service.revoke(caller_of(context), key_validation.key_id(request))
        return access_pb2.RevokeKeyResponse(key=_to_key(key))

    async def RotateKey(  # noqa: D102, N802
        self, request: access_pb2.RotateKeyRequest, context: _Context
    ) -> access_pb2.RotateKeyResponse:
        key_id, overlap = key_validation.rotation(request)
        made, former = await self._service.rotate(caller_of(context), key_id, overlap)
        return access_pb2.RotateKeyResponse(
            key=_to_key(made.key), secret_key=made.secret.text, former_key=_to_key(former)
        )


def _to_caller(caller: Caller) -> access_pb2.GetCallerResponse:
    return access_pb2.GetCallerResponse(
        organization=caller.organisation,
        actor=caller.actor,
        scopes=sorted(caller.scopes),
        key_id=caller.key_id,
        key_name=caller.key_name,
    )


def _to_key(key: Key) -> access_pb2.Key:
    return access_pb2.Key(
        key_id=key.key_id,
        name=key.name,
        scopes=sorted(key.scopes),
        create_time=to_timestamp(key.create_time),
        creator=key.creator,
        expire_time=to_timestamp(key.expire_time),
        revoke_time=to_timestamp(key.revoke_time),
        last_use_time=to_timestamp(key.last_use_time),
    )
