"""The name of an empty table of ours, on which a plan tries what it means to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.engines.mysql.names import own, quote
from tasks.engines.mysql.session import MariaSession


@contextmanager
def probe(conn: MariaSession, tag: str, role: str = "probe") -> Iterator[str]:
    """Yield the name; whatever has it is dropped before, and afterwards."""
    name = own(tag, 0, role)
    conn.execute(f"drop table if exists {quote(name)}")
    try:
        yield name
    finally:
        if not conn.closed:
            conn.execute(f"drop table if exists {quote(name)}")
