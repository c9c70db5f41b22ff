"""The database of the sender: each module the statements of one subject."""
