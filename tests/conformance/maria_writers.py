"""Applications that write every change twice, to the table that is migrated and to a twin that nobody touches.

At the end both hold the same rows, whatever was done to the one. No statement of an application may fail, and none may
wait for longer than the budget and what a busy machine adds.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conformance.threads import Threads
from tests.servers.mariadb import connected, run

TABLE = """
    create table {name} (
        id int not null auto_increment primary key, body varchar(80) null, n int null, key by_n (n)
    ) engine=InnoDB character set utf8mb4
"""


class Writers(Threads):
    """Threads that insert, update, delete and move keys, in transactions of one to five statements.

    Half of them read the table first, and think: DDL that waits would make them the victims of a deadlock.
    """

    def __init__(self, url: str, *, threads: int = 3, seed: int = 1, pause: float = 0.002) -> None:
        super().__init__(url, [random.Random(seed * 1000 + number) for number in range(threads)], pause=pause)

    def write(self, number: int, dice: random.Random) -> None:
        of = len(self._threads)
        with connected(self.url, autocommit=False) as conn, conn.cursor() as cursor:
            cursor.execute("select id from twin where id %% %s = %s", (of, number))
            mine = [int(row[0]) for row in cursor.fetchall()]
            conn.commit()
            fresh = 1_000_000 + number
            while not self._over.is_set():
                started = time.monotonic()
                if dice.random() < 0.5:
                    cursor.execute("select body from orders where id = %s", (fresh,))
                    time.sleep(self.pause)
                for _ in range(dice.choice((1, 1, 2, 5))):
                    kind = dice.choice(("insert", "update", "update", "null", "delete", "move"))
                    if kind == "insert" or not mine:
                        fresh += of
                        mine.append(fresh)
                        statement = "insert into {t} (id, body, n) values (%s, %s, %s)"
                        values: tuple[object, ...] = (fresh, "é\\'", fresh % 97)
                    else:
                        one = dice.choice(mine)
                        if kind == "update":
                            statement, values = "update {t} set body = %s, n = n + 1 where id = %s", (str(fresh), one)
                        elif kind == "null":
                            statement, values = "update {t} set body = null, n = %s where id = %s", (None, one)
                        elif kind == "delete":
                            mine.remove(one)
                            statement, values = "delete from {t} where id = %s", (one,)
                        else:
                            fresh += of
                            mine.remove(one)
                            mine.append(fresh)
                            statement, values = "update {t} set id = %s where id = %s", (fresh, one)
                    for table in ("orders", "twin"):
                        cursor.execute(statement.format(t=table), values)
                conn.commit()
                took = time.monotonic() - started
                with self._lock:
                    self.transactions += 1
                    self.longest = max(self.longest, took)
                time.sleep(self.pause)


def prepare(url: str, rows: int) -> None:
    """Make the table and its twin."""
    with connected(url) as conn, conn.cursor() as cursor:
        for name in ("orders", "twin"):
            cursor.execute(TABLE.format(name=name))
            cursor.execute(
                f"insert into {name} select seq, if(seq % 5 = 0, null, concat('r', seq)), seq % 97 from seq_1_to_{rows}"
            )


@contextmanager
def prepared(url: str, *statements: str) -> Iterator[str]:
    """Prepare a transaction, end its session, and give its name; it is rolled back unless it was committed."""
    name = f"changeover {os.urandom(8).hex()}"
    run(url, f"xa start '{name}'", *statements, f"xa end '{name}'", f"xa prepare '{name}'")
    try:
        yield name
    finally:
        if any(row[3] == f"'{name}'" for row in run(url, "xa recover format='SQL'")):
            run(url, f"xa rollback '{name}'")


def difference(url: str) -> int:
    """Count the rows that are not the same in both."""
    with connected(url) as conn, conn.cursor() as cursor:
        cursor.execute(
            "select count(*) from ((select id, body, n from orders except select id, body, n from twin)"
            " union all (select id, body, n from twin except select id, body, n from orders)) as d"
        )
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])


def is_big(url: str) -> bool:
    """Tell whether the new table is in its place."""
    with connected(url) as conn, conn.cursor() as cursor:
        cursor.execute("show columns from orders like 'id'")
        row = cursor.fetchone()
        assert row is not None
        return "bigint" in row[1]
