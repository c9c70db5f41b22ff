"""Changes of campaigns as they happen, for those who watch."""
