"""What a scrape shows of the streams to the status service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from sender_service.reporting.meter import ReportingMeter
from sender_service.reporting.relay_queue import Acknowledged
from sender_service.reporting.relayed_campaign import RelayedCampaign


def test_frames_and_new_rejections_count() -> None:
    """Frames as they are acknowledged, and each campaign that begins to be rejected."""
    registry = CollectorRegistry()
    meter = ReportingMeter(registry)
    campaigns = [RelayedCampaign(number, f"c{number}") for number in (1, 2)]
    meter.acknowledged(Acknowledged(5))
    assert registry.get_sample_value("closeout_rejected_frames_total") == 0
    meter.acknowledged(Acknowledged(3, rejected=dict.fromkeys(campaigns, 7)))
    assert registry.get_sample_value("closeout_rejected_frames_total") == 2
    assert registry.get_sample_value("closeout_acknowledged_frames_total") == 8


def test_only_streams_that_were_answered_count_as_connected() -> None:
    """One that ends before its first answer takes nothing away."""
    registry = CollectorRegistry()
    meter = ReportingMeter(registry)
    meter.connected()
    meter.ended(was_connected=False)
    assert registry.get_sample_value("closeout_reporting_streams_connected") == 1
    meter.ended(was_connected=True)
    assert registry.get_sample_value("closeout_reporting_streams_connected") == 0
