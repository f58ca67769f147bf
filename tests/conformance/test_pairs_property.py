"""Any two operations on one table, under random writes: over, back, and over for good, against plain statements.

`CHANGEOVER_PAIRS` is how many pairs are drawn; few by default, for each of them walks the whole way.
"""

import os
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.model.errors import PreflightError, SpecError
from tests.conformance.cycle import Case, Cycle
from tests.conformance.drive import Connection, Migration

PAIRS = int(os.environ.get("CHANGEOVER_PAIRS", "2"))
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


def test_two_operations_at_once(conn: Connection, url: str) -> None:
    """What is refused is refused before anything changes; what is not does what the two say."""
    number = count()

    @settings(
        max_examples=PAIRS, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(st.sampled_from(OPERATIONS), min_size=2, max_size=2), st.lists(WRITES, max_size=8))
    def check(pair: list[dict[str, Any]], writes: list[str]) -> None:
        conn.execute(SCHEMA.encode())
        written = []
        with conn.transaction(force_rollback=True):
            for one in writes:
                try:
                    with conn.transaction():
                        conn.execute(one.encode())
                except Exception:  # noqa: BLE001 - a key that is taken: no application would do it
                    continue
                written.append(one)
        try:
            case = Case(name="pair", schema="", operations=pair, writes=";".join(written))
            cycle = Cycle(case, conn, url)
        except ValidationError:
            assume(False)
        cycle.migration = Migration(url, pair, name=f"pair-{next(number)}")
        try:
            cycle.migration.engine.plan(cycle.migration.spec)
        except (SpecError, PreflightError):
            assume(False)
        cycle.back_after_swap()
        cycle.to_the_end()

    check()
