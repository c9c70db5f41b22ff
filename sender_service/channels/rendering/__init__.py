"""Content for one recipient: Liquid templates, and text made from HTML."""
