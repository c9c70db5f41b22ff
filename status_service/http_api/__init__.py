"""The calls of the contract over HTTP, with JSON."""
