"""Results to the status service, over one stream."""
