"""One file for each version; what was released is never changed."""
