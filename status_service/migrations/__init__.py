"""The versions of the status service's database."""

from __future__ import annotations

from pathlib import Path

from service_runtime.migrations import Migrations

MIGRATIONS = Migrations(Path(__file__).parent, table="closeout_status_version")
