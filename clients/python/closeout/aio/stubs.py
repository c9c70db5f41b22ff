"""The generated calls of each service, as asyncio code uses them.

The generated class is one for both kinds of channel, and its types are two:
``closeout/sync/stubs.py`` has the blocking ones under the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from closeout.sender.v1.sender_pb2_grpc import SenderServiceAsyncStub as SenderStub
    from closeout.status.v1.access_pb2_grpc import AccessServiceAsyncStub as AccessStub
    from closeout.status.v1.events_pb2_grpc import EventServiceAsyncStub as EventStub
    from closeout.status.v1.status_pb2_grpc import StatusServiceAsyncStub as StatusStub
else:
    from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub as SenderStub
    from closeout.status.v1.access_pb2_grpc import AccessServiceStub as AccessStub
    from closeout.status.v1.events_pb2_grpc import EventServiceStub as EventStub
    from closeout.status.v1.status_pb2_grpc import StatusServiceStub as StatusStub

__all__ = ["AccessStub", "EventStub", "SenderStub", "StatusStub"]
