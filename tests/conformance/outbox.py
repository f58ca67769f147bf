"""Notes of what could not be carried to the other shape at once."""

from tests.conformance.drive import Connection


def outboxes(conn: Connection) -> list[str]:
    """Name the tables of notes, without their schema."""
    found = conn.execute("select relname from pg_class where relname like 'outbox%' and relkind = 'r' order by 1")
    return [name for (name,) in found.fetchall()]


def waiting(conn: Connection) -> int:
    """Count the notes that are still to be carried."""
    names = outboxes(conn)
    assert names
    counted = [conn.execute(f'select count(*) from changeover."{name}"'.encode()).fetchone() or () for name in names]
    return sum(count for (count,) in counted)


def carry(conn: Connection) -> int:
    """Carry what waits, now that nobody writes; return how many notes there were."""
    before = waiting(conn)
    for name in outboxes(conn):
        all_of_them = name.replace("outbox_", "dual_carry_all_")
        conn.execute(f'select changeover."{all_of_them}"(null, false)'.encode())
    assert waiting(conn) == 0
    return before
