"""What a migration may have left behind in a database."""

import time
from typing import Any

import psycopg

_OBJECTS = """
select 'relation ' || c.oid::regclass::text
  from pg_class c
 where (c.relname ilike '%changeover%' or c.relname ilike '\\_co\\_%')
   and c.relnamespace::regnamespace::text not in ('changeover', 'pg_toast')
union all
select 'column ' || a.attrelid::regclass || '.' || a.attname
  from pg_attribute a where a.attname ilike '%changeover%' and not a.attisdropped
union all
select 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass
  from pg_trigger t where t.tgrelid in ('orders'::regclass, 'orders_twin'::regclass) and not t.tgisinternal
union all
select 'constraint ' || c.conname || ' on ' || c.conrelid::regclass
  from pg_constraint c where c.conrelid = 'orders'::regclass and (c.conname ilike '%changeover%' or not c.convalidated)
union all
-- The ledger itself has triggers; a function that none of them uses was made for a migration.
select 'function ' || p.oid::regprocedure
  from pg_proc p
 where (p.pronamespace::regnamespace::text = 'changeover' or p.proname ilike '%changeover%')
   and not exists (select from pg_trigger t where t.tgfoid = p.oid)
union all
select 'invalid index ' || i.indexrelid::regclass
  from pg_index i where not i.indisvalid
union all
select 'prepared transaction ' || gid
  from pg_prepared_xacts
order by 1
"""
_SESSIONS = """
select 'session ' || application_name
  from pg_stat_activity
 where application_name like 'changeover%' and datname = current_database()
"""


def leftovers(connection: psycopg.Connection[Any], patience: float = 3.0) -> tuple[str, ...]:
    """Name what Changeover left in the database, outside its ledger, and the sessions that it left open.

    A session that was just closed is seen for a moment longer: they get `patience` seconds to go.
    """
    deadline = time.monotonic() + patience
    while (sessions := connection.execute(_SESSIONS).fetchall()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return tuple(row[0] for row in (*connection.execute(_OBJECTS).fetchall(), *sessions))
