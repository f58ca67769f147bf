"""Draw up the plan of a migration by shadow table."""

from typing import Any

import psycopg

from tasks.model.errors import SpecError
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec


def plan_shadow(conn: psycopg.Connection[Any], spec: MigrationSpec, search_path: str) -> Plan:  # noqa: ARG001
    """Return the complete plan of a spec on the catalogue as it is now."""
    raise SpecError(
        "a shadow table cannot be planned on PostgreSQL yet",
        where="strategy",
        hint="Write `strategy: expand_contract`.",
    )
