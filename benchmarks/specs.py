"""The migrations that are measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMN = "customer_key"
EXPRESSION = "lower(btrim(customer))"

ADD: Mapping[str, Any] = {
    "add_column": {
        "table": "orders",
        "column": {"name": COLUMN, "type": "text", "nullable": True},
        "up": EXPRESSION,
    }
}
WIDEN: Mapping[str, Any] = {
    "alter_column": {"table": "orders", "column": "quantity", "type": "bigint", "up": "quantity", "down": "quantity"}
}

_PROFILE = """
name = "benchmark"
evidence = {evidence}

[databases.main]
url_env = "CHANGEOVER_BENCHMARK_URL"
"""
URL = "CHANGEOVER_BENCHMARK_URL"
URLS: Mapping[str, str] = {
    "main": URL,
    "documents": "CHANGEOVER_BENCHMARK_DOCUMENTS_URL",
    "shop": "CHANGEOVER_BENCHMARK_SHOP_URL",
}
"""The variables with the URLs of PostgreSQL, MongoDB and MariaDB, by their names in the profile of copies."""
_COPYING = """
name = "benchmark-copy"
evidence = {evidence}

[databases.main]
url_env = "{main}"

[databases.documents]
url_env = "{documents}"
ledger = "main"

[databases.shop]
url_env = "{shop}"
"""


REBUILD: Mapping[str, Any] = {"rebuild_table": {"table": "orders"}}


def write(folder: Path, name: str, *operations: Mapping[str, Any], strategy: str = "expand_contract") -> Path:
    """Write a spec, and give its path."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"migration": name, "strategy": strategy, "operations": operations}), encoding="utf-8")
    return path


def write_profile(folder: Path) -> Path:
    """Write a profile with the limits that everybody has who sets none, and give its path."""
    path = folder / "benchmark.toml"
    # A JSON string is a TOML string, too.
    path.write_text(_PROFILE.format(evidence=json.dumps(str(folder / "evidence"))), encoding="utf-8")
    return path


def write_transfer(folder: Path, name: str, database: str, transfer: Mapping[str, Any]) -> Path:
    """Write the spec of a copy into another database, and give its path."""
    path = folder / f"{name}.json"
    spec = {"migration": name, "database": database, "strategy": "cross_database", "transfer": transfer}
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def write_copying_profile(folder: Path) -> Path:
    """Write a profile with databases of three engines, and the limits that everybody has; give its path."""
    path = folder / "copying.toml"
    path.write_text(_COPYING.format(evidence=json.dumps(str(folder / "evidence")), **URLS), encoding="utf-8")
    return path
