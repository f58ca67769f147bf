"""What is wrong with the texts of a database before anybody touches them: said as warnings, as it is nobody's fault."""

from collections.abc import Iterator

from tasks.engines.postgresql.blockers import Connection
from tasks.model.catalogue import Table
from tasks.model.names import quote
from tasks.model.plan import Plan
from tasks.model.status import CheckResult

_COLLATIONS = """
select case when c.collprovider = 'd' then 'the collation of the database'
    else 'the collation ' || n.nspname || '.' || c.collname end,
  case when c.collprovider = 'd' then d.datcollversion else c.collversion end as then_version,
  case when c.collprovider = 'd' then pg_catalog.pg_database_collation_actual_version(d.oid)
    else pg_catalog.pg_collation_actual_version(c.oid) end as version_now,
  case when c.collprovider = 'd'
    then pg_catalog.format('reindex database %%1$I; alter database %%1$I refresh collation version', d.datname)
    else pg_catalog.format('/* first reindex whatever uses it */ alter collation %%I.%%I refresh version',
      n.nspname, c.collname) end
from pg_catalog.pg_collation c
join pg_catalog.pg_namespace n on n.oid = c.collnamespace
join pg_catalog.pg_database d on d.datname = current_database()
where c.oid in (
  select a.attcollation from pg_catalog.pg_attribute a
  where a.attrelid = any (array(select pg_catalog.to_regclass(t)::oid from unnest(%s::text[]) as t))
    and a.attnum > 0 and not a.attisdropped)
"""


def warnings(conn: Connection, plan: Plan) -> Iterator[CheckResult]:
    """Yield a warning for everything that is found, and nothing where all is well. Locks: ACCESS SHARE.

    With another version of a collation than the one that its indexes were built with, an index may find a row or
    not, and hold a value twice. In a database without an encoding, bytes beyond ASCII mean what each client thinks.
    """
    tables = plan.catalogue.tables
    for what, then, now, fix in conn.execute(_COLLATIONS, ([_quoted(table) for table in tables],)).fetchall():
        if then is not None and now is not None and then != now:
            yield CheckResult(
                name=f"{what} is as its indexes know it",
                passed=False,
                evaluated=True,
                unexpected=1,
                message=f"indexes were built with version {then}, and the server has version {now}",
                severity="warning",
                fix=fix,
            )
    row = conn.execute("show server_encoding").fetchone()
    if row is not None and row[0] == "SQL_ASCII":
        for table in tables:
            yield from _beyond_ascii(conn, table)


def _beyond_ascii(conn: Connection, table: Table) -> Iterator[CheckResult]:
    found = conn.execute(
        "select attname from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass(%s)::oid"
        " and attnum > 0 and not attisdropped and attcollation <> 0 order by attnum",
        (_quoted(table),),
    ).fetchall()
    texts = [row[0] for row in found]
    if not texts:
        return
    beyond = " or ".join(rf"{quote(name)}::pg_catalog.text ~ '[^\x01-\x7f]'" for name in texts)
    # A row that is wrong must not be sent: it is only counted.
    row = conn.execute(f"select count(*) from {_quoted(table)} where {beyond}".encode()).fetchone()
    count = int(row[0]) if row else 0
    if count:
        yield CheckResult(
            name=f"the texts of {table.full_name} mean the same to everybody",
            passed=False,
            evaluated=True,
            unexpected=count,
            message=f"{count:,} row{'s hold' if count > 1 else ' holds'} bytes beyond ASCII, and the encoding of this"
            " database, SQL_ASCII, does not say what they mean",
            severity="warning",
            fix=f"select * from {_quoted(table)} where {beyond}",
        )


def _quoted(table: Table) -> str:
    return f"{quote(table.schema_name)}.{quote(table.name)}"
