"""The same change by other means."""

from benchmarks.server import Connection
from benchmarks.specs import COLUMN, EXPRESSION

BATCH = 1000
"""Rows of a batch of pgroll, unless told otherwise."""


def one_statement(conn: Connection) -> None:
    """Fill the column by a single UPDATE, which locks every row until its end."""
    conn.execute(f"update orders set {COLUMN} = {EXPRESSION}".encode())


def prepare_batches(conn: Connection) -> None:
    """Set the table up as pgroll does (v0.16): a mark on every row, and a trigger that fills and unmarks.

    Ours in words and names; the same in kind: the trigger copies all columns into variables of PL/pgSQL, and
    looks at the search_path to tell which shape a session uses.
    """
    conn.execute(f"alter table orders add column {COLUMN} text".encode())
    conn.execute("alter table orders add column needs_backfill boolean default true")
    conn.execute(
        f"""
        create function fill() returns trigger language plpgsql as $$
        declare
            id orders.id%type := new.id;
            customer orders.customer%type := new.customer;
            amount orders.amount%type := new.amount;
            currency orders.currency%type := new.currency;
            status orders.status%type := new.status;
            note orders.note%type := new.note;
            created_at orders.created_at%type := new.created_at;
            quantity orders.quantity%type := new.quantity;
            shape text;
        begin
            select current_setting into shape from current_setting('search_path');
            if shape <> 'the_new_shape' then
                new.{COLUMN} := {EXPRESSION};
                new.needs_backfill := false;
            end if;
            return new;
        end
        $$
        """.encode()
    )
    conn.execute("create trigger fill before insert or update on orders for each row execute function fill()")


def batches(conn: Connection) -> None:
    """Fill the column as pgroll does: select and lock the next thousand marked rows, touch them, wake the trigger."""
    last = 0
    while True:
        row = conn.execute(
            f"""
            with batch as (
                select id from orders
                where needs_backfill = true and id > {last}
                order by id
                limit {BATCH}
                for no key update
            ), touched as (
                update orders set id = orders.id from batch where orders.id = batch.id returning orders.id
            )
            select max(id) from touched
            """.encode()
        ).fetchone()
        if row is None or row[0] is None:
            return
        last = row[0]
