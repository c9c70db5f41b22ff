"""Long load on several status services and one PostgreSQL, which are killed all along."""
