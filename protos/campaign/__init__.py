"""Package ``campaign`` of the contract."""
