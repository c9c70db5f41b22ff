"""The campaigns of this sender: their use cases, and those that are at work."""
