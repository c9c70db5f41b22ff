"""The ``closeout`` command: one module for each subject; ``app`` puts them together."""
