"""The web page of operators."""
