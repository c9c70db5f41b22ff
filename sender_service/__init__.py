"""The sender service: delivers the messages of campaigns and reports each outcome."""
