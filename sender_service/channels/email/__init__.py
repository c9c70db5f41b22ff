"""The channel ``smtp``: e-mail by SMTP."""
