"""A model of the protocol, checked exhaustively for small numbers by Spin."""
