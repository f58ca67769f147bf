"""The owner of the tables is enough: no migration needs a superuser, for any kind of operation."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_locks_announced import OTHERS, SCHEMA, SPECS
from tests.conformance.test_row_security import as_role
from tests.conformance.test_versions import baseline
from tests.legs import EVERY_LEG

OWNER = "no_superuser"
RIGHTS = f"""
grant all on schema public, changeover to {OWNER}; grant pg_monitor to {OWNER};
grant all on all tables in schema changeover to {OWNER}; grant all on all sequences in schema changeover to {OWNER};
do $$
declare one record;
begin
  for one in select oid::regclass as name from pg_class
    where relkind in ('r', 'v') and relnamespace = 'public'::regnamespace
  loop execute format('alter table %s owner to {OWNER}', one.name); end loop;
  for one in select oid::regtype as name from pg_type
    where typtype in ('e', 'd') and typnamespace = 'public'::regnamespace
  loop execute format('alter type %s owner to {OWNER}', one.name); end loop;
end $$
"""


@pytest.fixture
def owned(conn: Connection, url: str) -> Iterator[str]:
    """URL for a role that is to own everything."""
    conn.execute(f"create role {OWNER} login".encode())
    conn.execute(
        sql.SQL("grant create on database {} to {}").format(sql.Identifier(conn.info.dbname), sql.Identifier(OWNER))
    )
    try:
        yield as_role(url, OWNER)
    finally:
        conn.execute(f"drop owned by {OWNER} cascade; drop role {OWNER}".encode())


@pytest.mark.parametrize("versions", [True, False][: 1 + EVERY_LEG])
@pytest.mark.parametrize("name", [*SPECS] if EVERY_LEG else ["others"])
def test_no_superuser_is_needed(name: str, versions: bool, conn: Connection, owned: str) -> None:
    """To the end; there and back, too, where every leg is walked."""
    conn.execute((SCHEMA + OTHERS * (name == "others")).encode())
    conn.execute(RIGHTS.encode())
    shadow = name == "rebuild"
    if versions and not shadow:
        baseline(owned)
    migration = Migration(
        owned,
        SPECS[name],
        strategy="shadow_table" if shadow else "expand_contract",
        version_schema="v2" if versions and not shadow else None,
    )
    for last in (False, True)[not EVERY_LEG :]:
        migration.begin()
        migration.before_swap()
        migration.swap()
        if last:
            migration.contract()
        else:
            migration.roll_back(sql=True)
    assert tables.leftovers(conn) == []
