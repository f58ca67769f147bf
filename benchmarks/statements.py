"""The same change by other means."""

from benchmarks.server import Connection
from benchmarks.specs import COLUMN, EXPRESSION

BATCH = 1000
"""Rows of a batch of pgroll, unless told otherwise."""


def one_statement(conn: Connection) -> None:
    """Fill the column by a single UPDATE, which locks every row until its end."""
    conn.execute(f"update orders set {COLUMN} = {EXPRESSION}".encode())


def prepare_batches(conn: Connection) -> None:
    """Set the table up as pgroll does: a mark on every row, and a trigger that fills and unmarks.

    Our own words for what its source at v0.16 and the log of a server say that it does: the trigger copies every
    column into a variable of PL/pgSQL, and looks at the search_path to tell which shape a session uses.
    """
    conn.execute(f"alter table orders add column {COLUMN} text".encode())
    conn.execute("alter table orders add column needs_backfill boolean default true")
    columns = ("amount", "created_at", "currency", "customer", COLUMN, "id", "note", "quantity", "status")
    variables = "\n".join(f"{name} public.orders.{name}%type := new.{name};" for name in columns)
    conn.execute(
        f"""
        create function fill() returns trigger language plpgsql as $$
        declare
            {variables}
            newest text;
            path text;
        begin
            select current_setting into path from current_setting('search_path');
            if path <> 'the_new_shape' then
                new.{COLUMN} := ({EXPRESSION});
                new.needs_backfill := false;
            end if;
            return new;
        end
        $$
        """.encode()
    )
    conn.execute("create trigger fill before insert or update on orders for each row execute function fill()")


def batches(conn: Connection) -> None:
    """Fill the column as pgroll does: select and lock the next thousand marked rows, touch them, wake the trigger.

    It counts the rows first. The last key comes back once for every row of a batch.
    """
    conn.execute("select count(*) from orders")
    last = ""
    while True:
        with conn.transaction():
            row = conn.execute(
                f"""
                with batch as (
                    select id from orders
                    where needs_backfill = true {last}
                    order by id
                    limit {BATCH}
                    for no key update
                ), touched as (
                    update orders set id = orders.id from batch where orders.id = batch.id returning orders.id
                )
                select last_value(id) over () from touched
                """.encode()
            ).fetchone()
        if row is None:
            return
        last = f"and (id) > ('{row[0]}')"
