"""The keys of a status service with fixed answers, for screens that are compared sign by sign."""
# The methods of a servicer are named, described and typed by the contract.
# ruff: noqa: ANN001, ANN201, ARG002, D102, N802

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from closeout.status.v1 import access_pb2 as pb
from closeout.status.v1.access_pb2_grpc import AccessServiceServicer

NOW = datetime(2030, 1, 31, 9, 0, tzinfo=UTC)
KEY_ID = "abcdefghijkl"
NEW_ID = "mnopqrstuvwx"
#: It has the form of a key, and no check sum.
SECRET = f"closeout_{NEW_ID}_" + "0" * 49


def _at(**before: float) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(NOW - timedelta(**before))
    return made


def keys() -> list[pb.Key]:
    """Return one key of each state."""
    return [
        pb.Key(
            key_id=NEW_ID,
            name="reporter",
            scopes=["report"],
            create_time=_at(minutes=1),
            creator="key:admin",
            expire_time=_at(days=-90),
        ),
        pb.Key(
            key_id=KEY_ID,
            name="admin",
            scopes=["admin", "read", "repair", "report", "write"],
            create_time=_at(days=100),
            creator="local:ops",
            last_use_time=_at(minutes=2),
        ),
        pb.Key(
            key_id="yz234567abcd",
            name="former-reporter-of-the-northern-branch",
            scopes=["read", "report"],
            create_time=_at(days=200),
            creator="key:admin",
            expire_time=_at(days=10),
            last_use_time=_at(days=11),
        ),
        pb.Key(
            key_id="efghijklmnop",
            name="leaked",
            scopes=["write"],
            create_time=_at(days=201),
            creator="key:admin",
            revoke_time=_at(days=199),
        ),
    ]


class Access(AccessServiceServicer):
    """Answers the same each time."""

    def CreateKey(self, request, context):
        return pb.CreateKeyResponse(key=keys()[0], secret_key=SECRET)

    def ListKeys(self, request, context):
        return pb.ListKeysResponse(keys=keys())

    def RevokeKey(self, request, context):
        if request.key_id != KEY_ID:
            context.abort_with_status(rpc_status.to_status(_not_found(request.key_id)))
        ended = keys()[1]
        ended.revoke_time.CopyFrom(_at())
        return pb.RevokeKeyResponse(key=ended)

    def RotateKey(self, request, context):
        former = keys()[1]
        former.expire_time.CopyFrom(_at(days=-1))
        return pb.RotateKeyResponse(key=keys()[0], secret_key=SECRET, former_key=former)


def _not_found(key_id: str) -> status_pb2.Status:
    found = status_pb2.Status(
        code=grpc.StatusCode.NOT_FOUND.value[0],
        message=f"key {key_id!r} not found; closeout keys list shows the keys of this organisation",
    )
    found.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason="KEY_NOT_FOUND", domain="closeout", metadata={"key_id": key_id}
        )
    )
    return found
