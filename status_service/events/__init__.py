"""Events: the outbox as webhooks."""
