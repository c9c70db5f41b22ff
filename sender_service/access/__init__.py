"""Who calls the sender service: the status service knows."""
