"""Which versions of a schema there are, and which is the one to deploy against."""

from tasks.ledger._session import Connection, Instant, all_rows, has_table
from tasks.model.base import Record
from tasks.model.status import MigrationState

_DEPLOYABLE = (
    MigrationState.AWAITING_APPROVAL,
    MigrationState.SWAPPED,
    MigrationState.COMPLETE,
    MigrationState.CONTRACTED,
)


class Version(Record):
    """A schema of views that shows one shape of another schema."""

    schema_name: str
    """To be put into the search_path of an application, before the schema that it shows."""
    of_schema: str
    name: str
    migration: str
    state: MigrationState
    """Of its migration."""
    created_at: Instant

    @property
    def ready(self) -> bool:
        """True when its columns are filled and its gate has passed: applications may be deployed against it."""
        return self.state in _DEPLOYABLE


def versions(conn: Connection) -> tuple[Version, ...]:
    """Return all versions of this database, oldest first; none when there is no ledger."""
    if not has_table(conn, "versions"):
        return ()
    rows = all_rows(
        conn,
        """
        select v.schema_name, v.of_schema, v.name, v.migration, m.state, v.created_at
          from changeover.versions v join changeover.migrations m on m.id = v.migration
         order by v.created_at, v.schema_name
        """,
    )
    return tuple(Version.model_validate(row) for row in rows)


def latest(conn: Connection, schema: str) -> Version | None:
    """Return the newest version of a schema that applications may be deployed against; None if there is none."""
    found = [one for one in versions(conn) if one.of_schema == schema and one.ready]
    return found[-1] if found else None


class ApiVersion(Record):
    """A view that a service relies on."""

    name: str
    """`schema.name`."""
    migration: str
    roles: tuple[str, ...]
    """Who was granted it."""
    functions: tuple[str, ...] = ()
    """What may be asked of it, with the parameters."""


def api_versions(conn: Connection, mark: str) -> tuple[ApiVersion, ...]:
    """Return the views whose comment begins with a mark, and goes on with the migration that made them."""
    rows = all_rows(
        conn,
        """
        select n.nspname || '.' || c.relname as name,
               substr(pg_catalog.obj_description(c.oid, 'pg_class'), length(%(mark)s) + 3) as migration,
               array(select f.nspname || '.' || p.proname || '(' || pg_catalog.pg_get_function_arguments(p.oid) || ')'
                     from pg_catalog.pg_proc p join pg_catalog.pg_namespace f on f.oid = p.pronamespace
                     where p.prorettype = c.reltype
                       and starts_with(pg_catalog.obj_description(p.oid, 'pg_proc'), %(mark)s) order by 1) as functions,
               array(select distinct r.rolname::text from pg_catalog.aclexplode(c.relacl) a
                     join pg_catalog.pg_roles r on r.oid = a.grantee where a.grantee <> c.relowner order by 1) as roles
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'v' and starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), %(mark)s)
         order by 1
        """,
        {"mark": mark},
    )
    return tuple(ApiVersion.model_validate(row) for row in rows)
