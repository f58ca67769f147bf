"""Two empty temporary twins of a table, on which a change is tried before it is planned.

`old` has the shape of today; `new` gets the shape that the spec asks for, by the plain ALTER TABLE statements
that could never be run on the real table. PostgreSQL itself then tells whether expressions parse and
type-check, which columns they read, and what every index, default and constraint will look like. All of it
happens in a transaction that is rolled back. Locks: ACCESS SHARE on the real table.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tasks.engines.postgresql.planning.dual_write import DualWrite
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.transient import is_transient
from tasks.model.catalogue import Index, Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote

Connection = psycopg.Connection[Any]
Side = tuple[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an expression reads."""

    columns: tuple[str, ...]
    """Of the row itself."""
    others: tuple[str, ...]
    """Names of other tables."""
    moment: bool
    """The clock, or who asks."""


class Rehearsal:
    """The twins of one table. Use it inside `rehearse`, which rolls everything back."""

    def __init__(self, conn: Connection, table: Table, number: int) -> None:
        self.conn = conn
        self.number = number
        self.table = table
        self.real = f"{quote(table.schema_name)}.{quote(table.name)}"
        self.old_name = f"_changeover_twin_old_{number}"
        self.new_name = f"_changeover_twin_new_{number}"
        self.old = f"pg_temp.{quote(self.old_name)}"
        self.new = f"pg_temp.{quote(self.new_name)}"
        for twin in (self.old, self.new):
            self._create(twin)
        self._index_names: dict[str, str] = {}
        for index in table.indexes:
            if not index.without_overlaps:
                self.name_index(index.name)
                self.conn.execute(self._on(self.new, index))

    def _create(self, twin: str) -> None:
        try:
            self.conn.execute(
                f"create temporary table {twin.removeprefix('pg_temp.')} (like {self.real} including defaults"
                " including constraints including generated including storage including compression)"
            )
        except psycopg.errors.FeatureNotSupported as error:
            raise PreflightError(
                f"{self.table.full_name} has a constraint that reads the row as a whole: {error.diag.message_detail}",
                where=self.table.full_name,
                hint="Drop the constraint, or let it name its columns.",
            ) from None

    def twin_index(self, name: str) -> str:
        """Return what an index is called on a twin: as it is, unless a table of another schema has one of that name."""
        return self._index_names.get(name, name)

    def name_index(self, name: str) -> str:
        """Choose what an index will be called on a twin."""
        if self._taken(name):
            self._index_names[name] = f"_changeover_twin_index_{self.number}_{len(self._index_names)}"
        return self.twin_index(name)

    def _taken(self, name: str) -> bool:
        row = self.conn.execute("select to_regclass(%s) is not null", (f"pg_temp.{quote(name)}",)).fetchone()
        return bool(row and row[0])

    def _on(self, twin: str, index: Index) -> str:
        """Turn the definition of an index of the real table into one on a twin."""
        row = self.conn.execute(
            "select format('%%I ON %%I.%%I ', %s::text, %s::text, %s::text),"
            " format('%%I ON ONLY %%I.%%I ', %s::text, %s::text, %s::text)",
            (index.name, self.table.schema_name, self.table.name) * 2,
        ).fetchone()
        assert row is not None
        for place in row:
            if place in index.definition:
                return index.definition.replace(place, f"{quote(self.twin_index(index.name))} ON {twin} ", 1)
        raise AssertionError(f"index definition without its table: {index.name}")

    @contextmanager
    def blaming(self, where: str, hint: str = "") -> Iterator[None]:
        """Turn an error of the database into a SpecError that says which part of the spec it is about."""
        try:
            with self.conn.transaction():
                yield
        except psycopg.Error as error:
            if is_transient(error):
                raise
            message = error.diag.message_primary or type(error).__name__
            message = message.replace(self.new_name, self.table.name).replace(self.old_name, self.table.name)
            if isinstance(error, psycopg.errors.UnsafeNewEnumValueUsage):
                hint = "A value that this spec adds can be used only by a migration of its own, afterwards."
            raise SpecError(
                _plain(message),
                where=where,
                hint=hint or error.diag.message_hint or "Correct the expression.",
            ) from None

    def try_on_new(self, statement: str, where: str, hint: str = "") -> None:
        """Run a statement on the twin of the new shape; `{table}` stands for its name."""
        with self.blaming(where, hint):
            # Only the first: a name may look the same.
            self.conn.execute(statement.replace("{table}", self.new, 1))

    def refers(self, name: str, child: Side, parent: Side, where: str) -> None:
        """Refuse a foreign key between columns that PostgreSQL cannot compare; each side is a table and its columns.

        Tried on tables of nothing but these columns, so that no right to read either table is needed.
        """
        hint = "Give both sides types that compare; or drop the foreign key in a migration of its own first."
        with self.blaming(where, hint), self.conn.transaction(force_rollback=True):
            for twin, side in (("child", child), ("parent", parent)):
                self.conn.execute(f"create temporary table _changeover_twin_{twin} ({self._columns(*side)})")
            referred, referring = (", ".join(quote(column) for column in side[1]) for side in (parent, child))
            self.conn.execute(f"alter table pg_temp._changeover_twin_parent add unique ({referred})")
            self.conn.execute(
                f"alter table pg_temp._changeover_twin_child add constraint {quote(name)} foreign key ({referring})"
                f" references pg_temp._changeover_twin_parent ({referred})"
            )

    def _columns(self, table: str, columns: Sequence[str]) -> str:
        """Return the definitions of some columns of a table: names, types and collations."""
        row = self.conn.execute(
            """
            select string_agg(format('%%I %%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
              || coalesce(' collate ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname), ''), ', ')
            from pg_catalog.pg_attribute a
            join pg_catalog.pg_type t on t.oid = a.atttypid
            left join pg_catalog.pg_collation c on c.oid = a.attcollation and a.attcollation <> t.typcollation
            left join pg_catalog.pg_namespace n on n.oid = c.collnamespace
            where a.attrelid = %s::regclass and a.attname = any (%s)
            """,
            (table, list(columns)),
        ).fetchone()
        assert row is not None
        return str(row[0])

    def reads(self, twin: str, expression: str, where: str, allowed: Sequence[str] = ()) -> Reading:
        """Return what an expression reads, after checking that it is one expression.

        Of other tables it may read those that are `allowed`, quoted and qualified.
        """
        # Where the server takes neither aggregates nor window functions nor sets.
        with self.blaming(where, "Write an expression that gives one value for one row."):
            self.conn.execute(
                f"explain select from {twin} as {quote(self.table.name)} where ({expression}\n) is not null"
            )
        view = quote("_changeover_expression")
        with self.blaming(where):
            self.conn.execute(
                f"create temporary view {view} as select ({expression}\n) as value"
                f" from {twin} as {quote(self.table.name)}"
            )
        rows = self.conn.execute(
            """
            select distinct a.attname
            from pg_catalog.pg_rewrite r
            join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
            join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
            where r.ev_class = 'pg_temp._changeover_expression'::regclass
              and d.refclassid = 'pg_catalog.pg_class'::regclass
              and d.refobjid = %s::regclass and d.refobjsubid > 0
            order by 1
            """,
            (twin,),
        ).fetchall()
        whole = self.conn.execute(
            """
            select exists (
              select from pg_catalog.pg_rewrite r
              join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
              where r.ev_class = 'pg_temp._changeover_expression'::regclass
                and (d.refobjid = %s::regtype or r.ev_action::text like '%%:varattno 0 %%'))
            """,
            (twin,),
        ).fetchone()
        assert whole is not None
        others = self.conn.execute(
            """
            select distinct c.relname, c.oid in (select to_regclass(name) from unnest(%s::text[]) as name)
            from pg_catalog.pg_rewrite r
            join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
            join pg_catalog.pg_class c on d.refclassid = 'pg_catalog.pg_class'::regclass and c.oid = d.refobjid
            where r.ev_class = 'pg_temp._changeover_expression'::regclass
              and c.oid not in (%s::regclass, r.ev_class) and c.relkind in ('r', 'p', 'v', 'm', 'f')
            """,
            (list(allowed), twin),
        ).fetchall()
        moment = self._moment()
        self.conn.execute(f"drop view {view}")
        forbidden = sorted(name for name, known in others if not known)
        if forbidden:
            raise SpecError(
                f"an expression cannot read another table: {', '.join(forbidden)}",
                where=where,
                hint="Its rows would change without the value following them: read columns of the same row only."
                " The table that a new, or a dropped, foreign key points to may be read.",
            )
        if whole[0]:
            raise SpecError("an expression cannot read the row as a whole", where=where, hint="Name the columns.")
        return Reading(
            columns=tuple(row[0] for row in rows),
            others=tuple(sorted(name for name, _ in others)),
            moment=moment,
        )

    def _moment(self) -> bool:
        """Tell whether the expression of the view reads the clock of its transaction, or statement."""
        row = self.conn.execute(
            """
            select exists (
              select from pg_catalog.pg_rewrite r
              where r.ev_class = 'pg_temp._changeover_expression'::regclass
                and (r.ev_action::text like '%{SQLVALUEFUNCTION %' or exists (
                  select from pg_catalog.pg_proc p
                  where p.pronamespace = 'pg_catalog'::regnamespace
                    and (p.proname in ('now', 'transaction_timestamp', 'statement_timestamp')
                      or p.proname = 'age' and p.pronargs = 1)
                    and r.ev_action::text like '%:funcid ' || p.oid || ' %')))
            """
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def assigns(self, source: str, target: str, column: str, expression: str, where: str) -> None:
        """Check that the value of an expression over one twin can be stored in a column of the other."""
        with self.blaming(where, "Cast the expression to the type of the column."):
            self.conn.execute(
                f"explain insert into {target} ({quote(column)}) overriding system value"
                f" select ({expression}\n) from {source} as {quote(self.table.name)}"
            )

    def printed(self, names: Sequence[str]) -> str:
        """Return a list of names as PostgreSQL prints it in definitions: quoted only where that is needed."""
        row = self.conn.execute(
            "select string_agg(quote_ident(name), ', ' order by n)"
            " from unnest(%s::text[]) with ordinality as t (name, n)",
            (list(names),),
        ).fetchone()
        assert row is not None
        return str(row[0])

    def collation(self, column: str) -> str | None:
        """Return the collation of a column of the new shape, where it is not that of its type."""
        row = self.conn.execute(
            """
            select format('%%I.%%I', n.nspname, c.collname)
            from pg_catalog.pg_attribute a
            join pg_catalog.pg_type t on t.oid = a.atttypid
            join pg_catalog.pg_collation c on c.oid = a.attcollation
            join pg_catalog.pg_namespace n on n.oid = c.collnamespace
            where a.attrelid = %s::regclass and a.attname = %s and a.attcollation <> t.typcollation
            """,
            (self.new, column),
        ).fetchone()
        return row[0] if row else None

    def can_run(self, query: str) -> bool:
        """Tell whether a query makes sense on the real table as it is now; it is not run."""
        try:
            with self.conn.transaction(force_rollback=True):
                self.conn.execute(f"explain {query}")
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):
            return False
        return True

    def is_volatile(self, twin: str, expression: str) -> bool:
        """Tell whether two evaluations can differ: then PostgreSQL does not pull the expression up."""
        rows = self.conn.execute(
            f"explain select value from (select ({expression}\n) as value from {twin} as {quote(self.table.name)})"
            " as once where value is not null"
        ).fetchall()
        return any("Subquery Scan" in row[0] for row in rows)

    def is_immutable(self, twin: str, expression: str) -> bool:
        """Tell whether no setting of a session, time zone for example, changes the value; indexes the twin to see."""
        try:
            with self.conn.transaction(force_rollback=True):
                self.conn.execute(f"create index on {twin} using brin (({expression}\n))")
        except psycopg.errors.InvalidObjectDefinition:
            return False
        except psycopg.Error as error:
            if is_transient(error):
                raise
            # Subqueries, types without an operator class: it may or may not be.
            return False
        return True

    def has_equality(self, type_name: str) -> bool:
        """Tell whether values of the type can be compared: json, point and xml cannot."""
        try:
            with self.conn.transaction():
                # Never evaluated: a domain may refuse NULL.
                self.conn.execute(f"select null::{type_name} is distinct from null::{type_name} where false")
        except psycopg.errors.UndefinedFunction:
            return False
        return True

    def duplicates_query(self, index: str, names: Mapping[str, str]) -> str:
        """Return the query that lists what a unique index of the new shape would refuse."""
        with self._renamed(names):
            return self._duplicates(index)

    def _duplicates(self, index: str) -> str:
        rows = self.conn.execute(
            """
            select pg_catalog.pg_get_indexdef(i.indexrelid, k, true),
                   pg_catalog.pg_get_expr(i.indpred, i.indrelid),
                   coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
            from pg_catalog.pg_index i
            join pg_catalog.pg_class c on c.oid = i.indexrelid
            cross join generate_series(1, i.indnkeyatts) k
            where c.relname = %s and c.relnamespace = pg_catalog.pg_my_temp_schema()
            order by k
            """,
            (self.twin_index(index),),
        ).fetchall()
        listed = ", ".join(f"({row[0]})" for row in rows)
        conditions = [f"({rows[0][1]})"] if rows[0][1] else []
        if not rows[0][2]:
            conditions += [f"({row[0]}) is not null" for row in rows]
        return (
            f"select {listed} from {self.real} where {' and '.join(conditions) or 'true'}"
            f" group by {listed} having count(*) > 1"
        )

    def try_trigger(self, dual: DualWrite, expand: Sequence[Move]) -> None:
        """Let the dual-write function meet a row of NULLs on a twin that has the columns of both shapes.

        Only errors of syntax and naming count; what an expression makes of NULL is its own affair.
        """
        both = f"_changeover_twin_both_{self.number}"
        with self.conn.transaction(force_rollback=True):
            self.conn.execute(f"create temporary table {both} (like {self.real})")
            for move in expand:
                for statement in move.forward:
                    self.conn.execute(statement.replace(self.real, f"pg_temp.{both}"))
            self._drop_not_nulls(both)
            for swapped in (False, True):
                self._fire(dual, both, swapped)

    def _drop_not_nulls(self, twin: str) -> None:
        rows = self.conn.execute(
            "select attname from pg_catalog.pg_attribute"
            " where attrelid = %s::regclass and attnum > 0 and attnotnull and not attisdropped",
            (f"pg_temp.{twin}",),
        ).fetchall()
        for (column,) in rows:
            self.conn.execute(f"alter table pg_temp.{twin} alter column {quote(column)} drop not null")

    def _fire(self, dual: DualWrite, both: str, swapped: bool) -> None:
        function = dual.function(swapped=swapped, strict=True).replace(dual.function_name, "pg_temp.dual_write")
        with self.blaming(self.table.full_name), self.conn.transaction(force_rollback=True):
            if swapped:
                for name, physical in dual.shape.moves():
                    self.conn.execute(f"alter table pg_temp.{both} rename column {quote(name)} to {quote(physical)}")
            self.conn.execute(function)
            self.conn.execute(
                f"create trigger fire before insert on pg_temp.{both} for each row"
                " execute function pg_temp.dual_write()"
            )
            try:
                with self.conn.transaction():
                    self.conn.execute(f"insert into pg_temp.{both} default values")
            except psycopg.errors.SyntaxErrorOrAccessRuleViolation:
                raise
            except psycopg.DatabaseError:
                return

    def new_column(self, column: str) -> tuple[str, str | None]:
        """Return type and default that a column of the new shape has."""
        row = self.conn.execute(
            """
            select pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.pg_get_expr(d.adbin, d.adrelid)
            from pg_catalog.pg_attribute a
            left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attrelid = %s::regclass and a.attname = %s and not a.attisdropped
            """,
            (self.new, column),
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    def default_is_constant(self, column: str) -> bool:
        """Tell whether PostgreSQL can add the column without rewriting the table."""
        row = self.conn.execute(
            "select atthasmissing from pg_catalog.pg_attribute where attrelid = %s::regclass and attname = %s",
            (self.new, column),
        ).fetchone()
        return bool(row and row[0])

    def index_definition(self, name: str, new_name: str, names: Mapping[str, str]) -> str | None:
        """Return CREATE INDEX CONCURRENTLY for the real table, as an index of the new shape looks.

        `names` maps columns of the new shape to the physical columns that hold them before the swap. None if
        the index did not survive the change.
        """
        with self._renamed(names):
            row = self.conn.execute(
                """
                select pg_catalog.pg_get_indexdef(c.oid), pg_catalog.quote_ident(c.relname)
                from pg_catalog.pg_class c
                where c.relname = %s and c.relnamespace = pg_catalog.pg_my_temp_schema()
                """,
                (self.twin_index(name),),
            ).fetchone()
            if row is None:
                return None
            return self._concurrently(row[0], row[1], new_name)

    def _concurrently(self, definition: str, quoted: str, new_name: str) -> str:
        """Turn the definition of an index of a twin into one for the real table."""
        pattern = r"(CREATE (?:UNIQUE )?INDEX )" + re.escape(quoted) + r" ON \S+ (USING .*)"
        found = re.match(pattern, definition, re.DOTALL)
        assert found is not None
        return f"{found[1]}CONCURRENTLY {quote(new_name)} ON {self.real} {found[2]}"

    def old_index_definition(self, index: Index, new_name: str, names: Mapping[str, str]) -> str:
        """Return CREATE INDEX CONCURRENTLY for an index of the old shape, whose columns are called by `names`."""
        with self._on_old(index, names):
            row = self.conn.execute(
                "select pg_catalog.pg_get_indexdef(c.oid), pg_catalog.quote_ident(c.relname)"
                " from pg_catalog.pg_class c"
                " where c.relname = %s and c.relnamespace = pg_catalog.pg_my_temp_schema()",
                (self.twin_index(index.name),),
            ).fetchone()
            assert row is not None
            return self._concurrently(row[0], row[1], new_name)

    def old_duplicates_query(self, index: Index, names: Mapping[str, str]) -> str:
        """Return the query that lists what a unique index of the old shape would refuse, likewise."""
        with self._on_old(index, names):
            return self._duplicates(index.name)

    @contextmanager
    def _on_old(self, index: Index, names: Mapping[str, str]) -> Iterator[None]:
        """Put an index on the twin of the old shape for a while, with its columns called by `names`."""
        with self.conn.transaction(force_rollback=True):
            self.conn.execute(f"drop table {self.new}")
            self.conn.execute(self._on(self.old, index))
            for name, physical in names.items():
                if name != physical:
                    self.conn.execute(f"alter table {self.old} rename column {quote(name)} to {quote(physical)}")
            yield

    def check_definition(self, name: str, names: Mapping[str, str]) -> str | None:
        """Return a CHECK of the new shape in the physical names of before the swap; None if it is gone."""
        with self._renamed(names):
            row = self.conn.execute(
                "select pg_catalog.pg_get_constraintdef(oid) from pg_catalog.pg_constraint"
                " where conrelid = %s::regclass and conname = %s",
                (self.new, name),
            ).fetchone()
        return row[0] if row else None

    @contextmanager
    def _renamed(self, names: Mapping[str, str]) -> Iterator[None]:
        moved = [(a, b) for a, b in names.items() if a != b]
        for visible, physical in moved:
            self.conn.execute(f"alter table {self.new} rename column {quote(visible)} to {quote(physical)}")
        yield
        for visible, physical in moved:
            self.conn.execute(f"alter table {self.new} rename column {quote(physical)} to {quote(visible)}")


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:] if message[1:2].islower() else message
