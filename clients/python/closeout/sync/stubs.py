"""The generated calls of each service, as blocking code uses them.

``closeout/aio/stubs.py`` is the asyncio counterpart.
"""

from __future__ import annotations

from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub as SenderStub
from closeout.status.v1.access_pb2_grpc import AccessServiceStub as AccessStub
from closeout.status.v1.events_pb2_grpc import EventServiceStub as EventStub
from closeout.status.v1.status_pb2_grpc import StatusServiceStub as StatusStub

__all__ = ["AccessStub", "EventStub", "SenderStub", "StatusStub"]
