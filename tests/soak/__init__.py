"""Load on several status services and one PostgreSQL, with constant faults."""
