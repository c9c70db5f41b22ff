"""The write path: results in, counters and completion out."""
