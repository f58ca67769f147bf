"""Read the catalogue of MariaDB: what tables look like, and all that hangs on them."""

import re
from collections.abc import Sequence
from typing import Any

from tasks.engines.mysql.names import quote
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Catalogue, Column, Constraint, InboundForeignKey, Index, Table, Trigger
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import TableEstimate

_COLUMNS = """
    select column_name, column_type, is_nullable, column_default, collation_name, extra, generation_expression,
           column_comment
      from information_schema.columns where table_schema = database() and table_name = %s order by ordinal_position
"""
_COLUMN_CHECKS = """
    select constraint_name, check_clause from information_schema.check_constraints
     where constraint_schema = database() and table_name = %s and level = 'Column'
"""
_INDEXES = """
    select index_name, non_unique, index_type, column_name, sub_part, collation, index_comment
      from information_schema.statistics where table_schema = database() and table_name = %s
     order by index_name, seq_in_index
"""
OURS = (OWN_PREFIX, "changeover_", "~changeover_")
_FOREIGN_KEYS = """
    select k.constraint_name, k.table_schema, k.table_name, k.column_name, k.referenced_table_schema,
           k.referenced_table_name, k.referenced_column_name, r.update_rule, r.delete_rule
      from information_schema.key_column_usage k
      join information_schema.referential_constraints r
        on r.constraint_schema = k.constraint_schema and r.constraint_name = k.constraint_name
       and r.table_name = k.table_name
     where {which} order by k.table_schema, k.table_name, k.constraint_name, k.ordinal_position
"""
_TRIGGERS = """
    select trigger_name, action_timing, event_manipulation, action_statement, definer, sql_mode
      from information_schema.triggers
     where event_object_schema = database() and event_object_table = %s
     order by event_manipulation, action_timing, action_order
"""


def inspect(conn: MariaSession, names: Sequence[str]) -> Catalogue:
    """Return the tables that `names` mean, sorted, with everything attached to them.

    Not of one snapshot: the catalogue of MariaDB has none. Raises SpecError when a name means no table here.
    """
    tables = sorted((_table(conn, _found(conn, name)) for name in dict.fromkeys(names)), key=lambda t: t.full_name)
    return Catalogue(engine="mysql", version=".".join(map(str, conn.dialect.version)), tables=tuple(tables))


def tables(conn: MariaSession, schema: str) -> tuple[str, ...]:
    """Name the tables of a database, sorted; left out are those of the ledger, ours, and names with a dot."""
    rows = conn.execute(
        "select table_name from information_schema.tables where table_schema = %s and table_type = 'BASE TABLE'"
        " and locate('.', table_name) = 0 order by table_name",
        (schema,),
    ).fetchall()
    return tuple(f"{schema}.{name}" for (name,) in rows if not name.startswith(OURS))


def estimate(conn: MariaSession, table: Table) -> TableEstimate:
    """Return the size of a table, from the statistics."""
    row = conn.execute(
        "select coalesce(table_rows, 0), coalesce(data_length + index_length, 0) from information_schema.tables"
        " where table_schema = database() and table_name = %s",
        (table.name,),
    ).fetchone()
    return TableEstimate(table=table.full_name, rows=int(row[0]), bytes=int(row[1]))


def _found(conn: MariaSession, name: str) -> str:
    schema, _, bare = name.rpartition(".")
    row = conn.execute(
        "select table_name from information_schema.tables where table_schema = database() and table_name = %s", (bare,)
    ).fetchone()
    if row is None or schema not in ("", conn.database):
        raise SpecError(
            f"there is no table {name!r} in the database {conn.database}",
            where=name,
            hint="Correct the name; tables of other databases need a URL of their own.",
        )
    return str(row[0])


def _table(conn: MariaSession, name: str) -> Table:
    row = conn.execute(
        "select table_type, engine, row_format, table_collation, create_options, table_comment"
        " from information_schema.tables where table_schema = database() and table_name = %s",
        (name,),
    ).fetchone()
    kind, engine, row_format, collation, options, comment = row
    printed = str(conn.execute(f"show create table {quote(name)}").fetchone()[1]) if kind != "VIEW" else ""
    columns = _columns(conn, name)
    return Table(
        schema_name=conn.database,
        name=name,
        kind="view" if kind == "VIEW" else "table",
        owner="",
        comment=comment or None,
        options=tuple(f"{key}={value}" for key, value in
                      (("engine", engine), ("row_format", row_format), ("collation", collation),
                       ("options", options), ("type", kind)) if value),
        partition_key=_partitions(printed),
        columns=columns,
        indexes=_indexes(conn, name),
        constraints=(*_checks(printed), *_foreign_keys(conn, name, columns)),
        inbound=_inbound(conn, name),
        triggers=_triggers(conn, name),
    )  # fmt: skip


def _columns(conn: MariaSession, name: str) -> tuple[Column, ...]:
    made = []
    # MySQL has none: there they are constraints of the table.
    checks = dict(conn.execute(_COLUMN_CHECKS, (name,)).fetchall()) if conn.dialect.maria else {}
    for column, kind, nullable, default, collation, extra, expression, comment in conn.execute(_COLUMNS, (name,)):
        words = str(extra or "").lower()
        options = [part for part in words.split(", ") if part not in ("", "auto_increment")]
        if column in checks:
            options.append(f"check ({checks[column]})")
        made.append(
            Column(
                name=column,
                type=str(kind),
                nullable=nullable == "YES",
                default=None if default is None else str(default),
                identity="by default" if "auto_increment" in words else "",
                generated=str(expression) if expression else None,
                virtual="virtual" in words,
                collation=collation,
                options=tuple(options),
                comment=comment or None,
            )
        )
    return tuple(made)


def _indexes(conn: MariaSession, name: str) -> tuple[Index, ...]:
    parts: dict[str, list[tuple[Any, ...]]] = {}
    for row in conn.execute(_INDEXES, (name,)):
        parts.setdefault(str(row[0]), []).append(row)
    return tuple(
        Index(
            name=index,
            definition=f"{rows[0][2]} ({', '.join(_part(row) for row in rows)})",
            columns=tuple(str(row[3]) for row in rows if row[3] is not None),
            referenced=tuple(str(row[3]) for row in rows if row[3] is not None),
            unique=not rows[0][1],
            primary=index == "PRIMARY",
            comment=rows[0][6] or None,
        )
        for index, rows in parts.items()
    )


def _part(row: tuple[Any, ...]) -> str:
    length = f"({row[4]})" if row[4] else ""
    return f"{row[3]}{length}{' desc' if row[5] == 'D' else ''}"


def _checks(printed: str) -> tuple[Constraint, ...]:
    """Read them as the server prints them: where they are kept differs between MariaDB and MySQL."""
    found = re.findall(r"^  CONSTRAINT `((?:[^`]|``)+)` (CHECK .*?),?$", printed, re.MULTILINE)
    return tuple(Constraint(name=name, kind="check", definition=text, columns=()) for name, text in found)


def _foreign_keys(conn: MariaSession, name: str, columns: Sequence[Column]) -> tuple[Constraint, ...]:
    """Read them with the names that the columns have: the server may keep the letters in which it was told them."""
    called = {column.name.casefold(): column.name for column in columns}
    made: dict[str, list[tuple[Any, ...]]] = {}
    query = _FOREIGN_KEYS.format(which="k.table_schema = database() and k.table_name = %s")
    for row in conn.execute(query, (name,)):
        made.setdefault(str(row[0]), []).append(row)
    return tuple(
        Constraint(
            name=key,
            kind="foreign key",
            definition=f"on update {rows[0][7]} on delete {rows[0][8]}",
            columns=tuple(called.get(str(row[3]).casefold(), str(row[3])) for row in rows),
            referenced_table=f"{rows[0][4]}.{rows[0][5]}",
            referenced_columns=tuple(str(row[6]) for row in rows),
        )
        for key, rows in made.items()
    )


def _inbound(conn: MariaSession, name: str) -> tuple[InboundForeignKey, ...]:
    made: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    query = _FOREIGN_KEYS.format(which="k.referenced_table_schema = database() and k.referenced_table_name = %s")
    for row in conn.execute(query, (name,)):
        made.setdefault((f"{row[1]}.{row[2]}", str(row[0])), []).append(row)
    return tuple(
        InboundForeignKey(
            table=table,
            name=key,
            definition=f"on update {rows[0][7]} on delete {rows[0][8]}",
            columns=tuple(str(row[3]) for row in rows),
            referenced_columns=tuple(str(row[6]) for row in rows),
        )
        for (table, key), rows in made.items()
    )


def made_by(definer: str, mode: str) -> str:
    """Return how the definition of a trigger ends: as whom it acts, and how its text is read."""
    return f" -- definer {definer}, sql_mode {mode}"


def _triggers(conn: MariaSession, name: str) -> tuple[Trigger, ...]:
    return tuple(
        Trigger(
            name=trigger,
            definition=f"{text}{made_by(definer, mode)}",
            timing="before" if timing == "BEFORE" else "after",
            events=(str(event).lower(),),
        )
        for trigger, timing, event, text, definer, mode in conn.execute(_TRIGGERS, (name,))
    )


def _partitions(printed: str) -> str:
    """Return how the table is partitioned, as the server prints it."""
    found = re.search(r"PARTITION BY .*", printed, re.DOTALL)
    return " ".join(found[0].removesuffix("*/").split()) if found else ""
