"""Keys, organisations, scopes: who may call."""
