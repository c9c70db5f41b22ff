"""Messages out: campaigns, their shards, and the hand-over to a channel."""
