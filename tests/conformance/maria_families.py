"""Applications that write to parents and children, each change to a table that is migrated and to a twin of it.

What a foreign key does to children, InnoDB does by itself, in both tables. Each thread has its own parents, whose rows
it deletes and renames; the children of others it changes, too: whoever deletes their parent meets it there.
"""

import random
import time

from tests.conformance.threads import Threads
from tests.servers.mariadb import connected, run

TABLE = """
    create table {name} (
        id int not null auto_increment primary key, body varchar(80) null, parent int null, other int null,
        key by_parent (parent), key by_other (other),
        constraint {name}_of_parent foreign key (parent) references parents (id) on delete cascade on update cascade,
        foreign key (other) references others (id) on delete set null
    ) engine=InnoDB character set utf8mb4
"""
PARENTS = 40


def prepare(url: str, rows: int) -> None:
    """Make parents, and both tables of children."""
    for name in ("parents", "others"):
        run(url, f"create table {name} (id int primary key)", f"insert into {name} select seq from seq_1_to_{PARENTS}")
    values = f"seq, concat('r', seq), 1 + seq % {PARENTS}, if(seq % 3 = 0, null, 1 + seq % {PARENTS})"
    for name in ("orders", "twin"):
        run(url, TABLE.format(name=name), f"insert into {name} select {values} from seq_1_to_{rows}")


class Families(Threads):
    """Two threads, until the context ends; no statement of theirs may fail."""

    def __init__(self, url: str, *, pause: float = 0.002) -> None:
        super().__init__(url, [random.Random(number) for number in range(2)], pause=pause)

    def write(self, number: int, dice: random.Random) -> None:
        mine = [one for one in range(1, PARENTS + 1) if one % 2 == number]
        fresh = 1_000_000 + number
        with connected(self.url, autocommit=False) as conn, conn.cursor() as cursor:
            while not self._over.is_set():
                started = time.monotonic()
                kind = dice.choice(("child", "child", "change", "change", "gone", "renamed", "other"))
                fresh += 2
                parent = dice.choice(mine)
                both: tuple[str, ...] = ()
                if kind == "child":
                    both = (f"insert into {{t}} (id, body, parent) values ({fresh}, 'new', {parent})",)
                elif kind == "change":
                    both = (f"update {{t}} set body = '{fresh}' where id = {dice.randint(1, 400)}",)
                elif kind == "gone":
                    cursor.execute(f"delete from parents where id = {parent}")
                    cursor.execute(f"insert into parents values ({parent})")
                elif kind == "renamed":
                    mine.remove(parent)
                    mine.append(fresh)
                    cursor.execute(f"update parents set id = {fresh} where id = {parent}")
                else:
                    cursor.execute(f"delete from others where id = {parent}")
                for statement in both:
                    for table in ("orders", "twin"):
                        cursor.execute(statement.format(t=table))
                conn.commit()
                self.transactions += 1
                self.longest = max(self.longest, time.monotonic() - started)
                time.sleep(self.pause)


def difference(url: str) -> int:
    """Count the rows that are not the same in both."""
    sides = ("orders", "twin"), ("twin", "orders")
    ((count,),) = run(
        url,
        "select count(*) from ("
        + " union all ".join(f"(select * from {one} except select * from {other})" for one, other in sides)
        + ") as d",
    )
    return int(count)
