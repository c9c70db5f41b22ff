"""Package ``closeout.status`` of the contract: the status service."""
