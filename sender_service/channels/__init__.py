"""Ways to hand a message to a provider: see :mod:`.contract` for what a channel is."""
