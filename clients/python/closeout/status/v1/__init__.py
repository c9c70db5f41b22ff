"""Version 1 of the contract of the status service: generated code."""
