"""Any two operations on one table, under random writes: over, back, and over for good, against plain statements.

`CHANGEOVER_PAIRS` is how many pairs are drawn; few by default, for each of them walks the whole way. With
`CHANGEOVER_EVERY_LEG` every pair walks it, in both orders.
"""

import os
from collections.abc import Sequence
from itertools import count, product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.model.errors import PreflightError, SpecError
from tests.conformance import tables
from tests.conformance.cycle import Case, Cycle, state
from tests.conformance.drive import Connection, Migration
from tests.legs import EVERY_LEG, TIMES

PAIRS = int(os.environ.get("CHANGEOVER_PAIRS", 2 * TIMES))
SCHEMA = """
drop table if exists t cascade;
create table t (id int primary key, a text, b int not null default 3, c text, d text default 'd', e int, f text,
  constraint t_e check (e > -100), constraint t_f unique (f));
create index t_a on t (a);
insert into t (id, a, b, c, e, f) select i, nullif('a' || i % 5, 'a0'), i, nullif(' C' || i % 3, ' C0'), i, 'f' || i
from generate_series(1, 12) i;
"""


def on_t(kind: str, **body: Any) -> dict[str, Any]:
    return {kind: {"table": "t"} | body}


OPERATIONS = [
    on_t("add_column", column={"name": "g", "type": "text", "nullable": True}, up="a || '!'"),
    on_t("add_column", column={"name": "h", "type": "int", "default": "7"}, up="b * 2"),
    on_t("add_column", column={"name": "i", "type": "text", "nullable": True, "default": "'x'"}),
    on_t("drop_column", column="d", down="'d'", lossy=True),
    on_t("drop_column", column="f"),
    on_t("rename_column", **{"from": "a", "to": "z"}),
    on_t("alter_column", column="b", type="bigint", up="b", down="b"),
    on_t("alter_column", column="e", up="e + 1", down="e - 1"),
    on_t("alter_column", column="c", nullable=False, up="coalesce(c, '-')", down="nullif(c, '-')", lossy=True),
    on_t("alter_column", column="b", check={"name": "t_b", "constraint": "b > -100"}),
    on_t("alter_column", column="a", comment="'a remark'"),
    on_t("create_index", name="t_ce", columns=["c", "e"]),
    on_t("create_index", name="t_if", columns=["id", "f"], unique=True),
    on_t("create_constraint", name="t_be", type="check", check="b > -100 or e is null"),
    on_t("create_constraint", name="t_uf", type="unique", columns=["f", "id"]),
    on_t("drop_constraint", name="t_e"),
    on_t("rename_constraint", **{"from": "t_f", "to": "t_ff"}),
    {"drop_index": {"name": "t_a"}},
    on_t("set_replica_identity", identity={"type": "full"}),
]  # fmt: skip
TEXTS = st.sampled_from(["null", "''", "'a1'", "' C1'", "'ünï 🐘'", "''''"])
KEYS = st.integers(1, 15)
WRITES = st.one_of(
    st.builds("delete from t where id = {}".format, KEYS),
    st.builds("update t set a = {}, c = {} where id = {}".format, TEXTS, TEXTS, KEYS),
    st.builds("update t set e = {}, b = {} where id = {}".format, st.integers(-9, 9), st.integers(-9, 9), KEYS),
    st.builds("update t set id = {} where id = {}".format, st.integers(100, 130), KEYS),
    st.builds("update t set d = {}, f = null where id = {}".format, TEXTS, KEYS),
    st.builds("insert into t (id, a, c) values ({}, {}, {}) on conflict do nothing".format, KEYS, TEXTS, TEXTS),
    st.builds("insert into t (id) values ({}) on conflict (id) do update set e = t.e + 1".format, KEYS),
)
EACH_WRITE = [
    "delete from t where id = 2",
    "update t set a = 'ünï 🐘', c = null where id = 3",
    "update t set e = -4, b = 5 where id = 4",
    "update t set id = 110 where id = 5",
    "update t set d = null, f = null where id = 6",
    "insert into t (id, a, c) values (14, '', ' C1') on conflict do nothing",
    "insert into t (id) values (7) on conflict (id) do update set e = t.e + 1",
]
Pair = Sequence[dict[str, Any]]
REFUSED: Pair = (OPERATIONS[4], OPERATIONS[12])
"""An index of what is dropped."""
LISTED: list[Pair] = [*product(OPERATIONS, repeat=2)] if EVERY_LEG else [REFUSED]


def walks(pair: Pair, writes: Sequence[str], conn: Connection, url: str, name: str) -> bool:
    """Walk the whole way; or tell that the pair is refused, after looking whether anything has changed."""
    conn.execute(SCHEMA.encode())
    before = state(conn)
    try:
        cycle = Cycle(Case(name="pair", schema="", operations=pair, writes=";".join(writes)), conn, url)
    except ValidationError:
        return False
    migration = cycle.migration = Migration(url, pair, name=name)
    try:
        migration.engine.plan(migration.spec)
    except (SpecError, PreflightError):
        with pytest.raises((SpecError, PreflightError)):
            migration.begin()
        assert state(conn) == before
        assert tables.leftovers(conn) == []
        return False
    cycle.back_after_swap()
    cycle.to_the_end()
    return True


def _accepted(writes: Sequence[str], conn: Connection) -> list[str]:
    conn.execute(SCHEMA.encode())
    found = []
    with conn.transaction(force_rollback=True):
        for one in writes:
            try:
                with conn.transaction():
                    conn.execute(one.encode())
            except Exception:  # noqa: BLE001 - a key that is taken: no application would do it
                continue
            found.append(one)
    return found


def test_two_operations_at_once(conn: Connection, url: str) -> None:
    """What is refused is refused before anything changes; what is not does what the two say."""
    number = count()

    @settings(
        max_examples=PAIRS, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(st.sampled_from(OPERATIONS), min_size=2, max_size=2), st.lists(WRITES, max_size=8))
    def check(pair: Pair, writes: list[str]) -> None:
        assume(walks(pair, _accepted(writes, conn), conn, url, f"pair-{next(number)}"))

    check()


def _named(pair: Pair) -> str:
    return " and ".join(f"{kind} {OPERATIONS.index(one)}" for one in pair for kind in one)


@pytest.mark.parametrize("pair", LISTED, ids=_named)
def test_every_two_operations(pair: Pair, conn: Connection, url: str) -> None:
    """The same of each pair, with a write of each kind."""
    walked = walks(pair, EACH_WRITE, conn, url, "pair")
    assert not walked or pair != REFUSED
