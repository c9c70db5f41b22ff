"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples in every run: a test that fails for one person fails for all, and
# a change is never blamed for what another seed would have found before it. To search
# with new seeds, and for longer: pytest --hypothesis-profile=search.
settings.register_profile(
    "repeatable",
    derandomize=True,
    max_examples=60,
    deadline=None,  # a shared machine is slow at times
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search",
    deadline=None,
    max_examples=1_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
