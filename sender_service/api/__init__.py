"""SenderService on gRPC: requests are checked, use cases called, answers made."""
