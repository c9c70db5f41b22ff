"""The channel ``webhook``: each message as a request to one address."""
