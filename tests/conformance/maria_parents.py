"""Applications that write to a table to which foreign keys refer, and to its children: each change to a twin, too.

What is refused, is refused for the sake of both; each thread has its own parents.
"""

import random
import time
from typing import Any

import pymysql

from tests.conformance.threads import Threads
from tests.servers.mariadb import connected, run

TABLES = """
    create table {p} (id int primary key, code varchar(20) not null, n int, body varchar(40), unique key by_code (code))
      engine=InnoDB character set utf8mb4;
    create table {p}_lines (id int auto_increment primary key, parent int not null,
      foreign key (parent) references {p} (id)) engine=InnoDB character set utf8mb4;
    create table {p}_notes (id int auto_increment primary key, parent int, code varchar(20), key (code),
      constraint {p}_parent foreign key (parent) references {p} (id) on delete cascade on update cascade,
      constraint {p}_code foreign key (code) references {p} (code) on delete set null on update cascade)
      engine=InnoDB character set utf8mb4;
    insert into {p} select seq, concat('c', seq), seq, 'old' from seq_1_to_{rows};
    insert into {p}_lines select seq, seq from seq_1_to_{rows} where seq % 3 = 0;
    insert into {p}_notes select seq, seq, concat('c', seq) from seq_1_to_{rows} where seq % 3 <> 1
"""
TRIGGERS = """
    create table {p}_log (id int auto_increment primary key, said varchar(90)) engine=InnoDB character set utf8mb4;
    create trigger {p}_made before insert on {p} for each row set new.body = concat('i', new.body) -- and no more
    ;
    create trigger {p}_changed before update on {p} for each row set new.n = new.n + 10;
    create trigger {p}_told after update on {p} for each row
      insert into {p}_log (said) values (concat_ws(' ', 'é', old.id, new.id, new.n, new.body));
    create trigger {p}_gone after delete on {p} for each row insert into {p}_log (said) values (concat('d', old.id))
"""
BOTH = ("orders", "twin")


def prepare(url: str, rows: int, *, triggers: bool = False) -> None:
    """Make both families of tables."""
    for name in BOTH:
        run(url, *TABLES.format(p=name, rows=rows).split(";"))
        if triggers:
            run(url, *TRIGGERS.format(p=name).split(";"))


def triggers_of(url: str) -> list[tuple[Any, ...]]:
    """Return the triggers of others on the table, as the server keeps them, in their order."""
    return run(
        url,
        "select trigger_name, event_manipulation, action_timing, action_statement, definer, sql_mode,"
        " character_set_client, collation_connection from information_schema.triggers"
        " where trigger_schema = database() and event_object_table = 'orders'"
        " and locate('changeover_', trigger_name) = 0 order by event_manipulation, action_timing, action_order",
    )


class Parents(Threads):
    """Two threads, until the context ends; whatever they meet on one side, they meet on the other."""

    def __init__(self, url: str, rows: int, *, pause: float = 0.002) -> None:
        super().__init__(url, [random.Random(number) for number in range(2)], pause=pause)
        self.rows = rows
        self.refused: set[int] = set()

    def write(self, number: int, dice: random.Random) -> None:
        mine = [one for one in range(1, self.rows + 1) if one % 2 == number]
        fresh = 1_000_000 + number
        with connected(self.url, autocommit=False) as conn, conn.cursor() as cursor:
            while not self._over.is_set():
                started = time.monotonic()
                fresh += 2
                one = dice.choice(mine)
                if dice.random() < 0.2:
                    mine.append(fresh)
                for statement in _statements(dice, one, fresh, made=mine[-1] == fresh):
                    self._both(cursor, statement)
                conn.commit()
                self.transactions += 1
                self.longest = max(self.longest, time.monotonic() - started)
                time.sleep(self.pause)

    def _both(self, cursor: Any, statement: str) -> None:
        met = []
        for table in BOTH:
            try:
                met.append((0, cursor.execute(statement.format(t=table))))
            except pymysql.err.IntegrityError as error:
                met.append((int(error.args[0]), 0))
        assert met[0] == met[1], (statement, met)
        self.refused.add(met[0][0])


def _statements(dice: random.Random, one: int, fresh: int, *, made: bool) -> tuple[str, ...]:
    if made:
        return (
            f"insert into {{t}} values ({fresh}, 'c{fresh}', 1, 'new')",
            f"insert into {{t}}_notes values ({fresh}, {fresh}, 'c{fresh}')",
        )
    return dice.choice(
        (
            (f"delete from {{t}} where id = {one}",),
            (f"update {{t}} set id = {fresh}, n = n + 1 where id = {one}",),
            (f"update {{t}} set code = 'd{fresh}', body = 'code' where id = {one}",),
            (f"update {{t}} set body = '{fresh}' where id = {one}",),
            (f"insert into {{t}}_lines values ({fresh}, {one})",),
            (f"delete from {{t}}_lines where parent = {one}", f"delete from {{t}} where id = {one}"),
            (f"insert into {{t}}_notes values ({fresh}, {one}, null)", f"update {{t}} set n = n + 1 where id = {one}"),
            (f"replace into {{t}} values ({one}, 'c{fresh}', 2, 'replaced')",),
        )
    )


def difference(url: str) -> int:
    """Count the rows that are not the same on both sides, and what triggers have said of one alone."""
    return sum(
        _differing(url, what)
        for what in ("* from {p}", "* from {p}_lines", "* from {p}_notes", "said, count(*) from {p}_log group by said")
    )


def _differing(url: str, what: str) -> int:
    one, other = (f"(select {what.format(p=name)})" for name in BOTH)
    ((count,),) = run(url, f"select count(*) from (({one} except {other}) union all ({other} except {one})) as d")
    return int(count)
