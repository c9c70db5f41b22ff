"""StatusService on gRPC: requests are checked, use cases called, values converted."""
