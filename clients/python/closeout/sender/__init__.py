"""Package ``closeout.sender`` of the contract: the sender service."""
