"""From names as a spec writes them to tables of the database."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tasks.engines.postgresql.catalogue import query
from tasks.model.errors import SpecError

OTHER_KINDS = {
    "i": "an index",
    "I": "an index",
    "S": "a sequence",
    "c": "a composite type",
    "t": "a TOAST table",
}
"""Kinds of relations that are no tables."""

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast"})


def resolve(conn: psycopg.Connection[Any], names: Sequence[str], path: list[str]) -> list[int]:
    """Return the object ids of the tables that `names` mean, each once.

    A name without a schema means the first relation of this name in the schemas of `path`. Raises `SpecError`
    for names that mean nothing, or no table, or a table of the system.
    """
    where = f"database {conn.info.dbname}, search path {', '.join(path) or 'empty'}"
    parts = [name.rpartition(".") for name in names]
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            query("resolve"),
            {
                "path": path,
                "written": list(names),
                "schemas": [schema if dot else None for schema, dot, _ in parts],
                "names": [name for _, _, name in parts],
            },
        ).fetchall()
    missing = list(dict.fromkeys(row["written"] for row in rows if row["oid"] is None))
    if missing:
        what = f"table {missing[0]} does not exist"
        if len(missing) > 1:
            what = f"tables {', '.join(missing)} do not exist"
        raise SpecError(what, where=where, hint=_hint(conn, missing, path))
    for row in rows:
        _refuse_what_is_no_table(row, where)
    return sorted({row["oid"] for row in rows})


def _hint(conn: psycopg.Connection[Any], missing: Sequence[str], path: list[str]) -> str:
    """Name the existing tables that look most like the missing ones, as a spec would write them."""
    known: dict[str, list[str]] = {}
    visible: set[str] = set()
    with conn.cursor() as cursor:
        for schema, name, on_path in cursor.execute(query("known_tables"), {"path": path}):
            spelling = name if on_path and name not in visible else f"{schema}.{name}"
            if on_path:
                visible.add(name)
            known.setdefault(name.lower(), []).append(spelling)
    wanted = [name.rpartition(".")[2].lower() for name in missing]
    close = dict.fromkeys(
        match for name in wanted for match in ([name] if name in known else get_close_matches(name, known))
    )
    spellings = [spelling for match in close for spelling in known[match]][:6]
    if not spellings:
        return "Correct the name, add its schema, or create the table first."
    return f"Correct the name; there are: {', '.join(spellings)}."


def _refuse_what_is_no_table(row: dict[str, Any], where: str) -> None:
    written = row["written"]
    if row["relkind"] in OTHER_KINDS:
        kind = OTHER_KINDS[row["relkind"]]
        raise SpecError(f"{written} is {kind}, not a table", where=where, hint="Name the table itself.")
    if row["schema_name"] in SYSTEM_SCHEMAS:
        hint = "Name a table of the application."
        raise SpecError(f"{written} belongs to the database system", where=where, hint=hint)
