"""What can be done with campaigns: the use cases that change them."""
