"""Break the promises on purpose, one by one, so that tests can see that the demo would notice."""

from collections.abc import Iterable
from typing import Any

import psycopg

_SESSION = "changeover sabotage"

SABOTAGES = {
    # As if a write had reached `orders` but not the twin. The application never touches such a key.
    "difference": """
        insert into orders_twin (id, customer, amount, currency, status, quantity)
        values (-999999999999, 'Nobody', 1, 'EUR', 'new', 1)
    """,
    "failure": """
        select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'demo-app-1'
    """,
    "stall": """
        begin;
        lock table orders in access exclusive mode;
        select pg_sleep(1.5);
        commit
    """,
    "audit": """
        alter table changeover.audit disable trigger append_only;
        update changeover.audit set actor = 'somebody else' where seq = 3;
        alter table changeover.audit enable always trigger append_only
    """,
    "leftover": "create table _changeover_left_behind ()",
    "catalogue": "alter table orders alter column note set default 'forgotten'",
}


def commit(url: str, names: Iterable[str]) -> None:
    """Do the named acts of sabotage, in a session that looks like one of Changeover's."""
    for name in names:
        with _connected(url) as connection:
            connection.execute(SABOTAGES[name])


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True, application_name=_SESSION)
