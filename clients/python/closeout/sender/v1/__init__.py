"""Version 1 of the contract of the sender service: generated code."""
