"""What callers import and run: typed clients and the ``closeout`` command."""
