"""Any few operations on one table, in one spec: what they come to is what they do one after the other.

The oracle carries each of them out by plain statements, in their order. `CHANGEOVER_SEQUENCES` is how many sequences
are drawn; one by default, for each of them walks there, back, and there for good.
"""

import os
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.model.catalogue import Catalogue
from tasks.model.errors import PreflightError, SpecError
from tests.conformance import tables
from tests.conformance.cycle import Case, Cycle
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_folding import Body, one_by_one
from tests.legs import EVERY_LEG

SEQUENCES = int(os.environ.get("CHANGEOVER_SEQUENCES", 10 if EVERY_LEG else 1))
SCHEMA = """
drop table if exists t, u, v, m cascade;
create table t (id int primary key, a int not null default 1, b int, c text default 'c');
create index t_b on t (b, a);
insert into t select i, i, nullif(i % 4, 0), 'c' || i from generate_series(1, 11) i;
"""
WRITES = (
    "insert into t (id, b) values (20, 7), (21, null); update t set b = 5, c = null where id = 3;"
    " delete from t where id = 5"
)


@dataclass(kw_only=True)
class Known:
    """The table as the next operation finds it."""

    table: str = "t"
    columns: list[str] = field(default_factory=lambda: ["a", "b", "c"])
    numbers: list[str] = field(default_factory=lambda: ["a", "b"])
    free: list[str] = field(default_factory=lambda: ["d", "e", "f", "g", "h"])
    made: bool = False


def operations(draw: st.DrawFn, known: Known) -> list[Body]:
    """Draw one operation, and note what it leaves."""
    kinds = ["rename", "add", "drop", "default", "check", "type", "fill", "index", "comment", "table", "unique"]
    kind = draw(st.sampled_from([one for one in kinds if known.numbers or one in ("add", "table", "comment")]))
    table = known.table
    column = draw(st.sampled_from(known.numbers or known.columns or ["id"]))
    new = known.free.pop(0)

    def on(which: str, **body: Any) -> list[Body]:
        return [{which: {"table": table, **body}}]

    match kind:
        case "rename":
            known.numbers[known.numbers.index(column)] = new
            known.columns[known.columns.index(column)] = new
            return on("rename_column", **{"from": column, "to": new})
        case "add":
            known.numbers.append(new)
            known.columns.append(new)
            default = draw(st.sampled_from([{}, {"default": "3"}]))
            up = draw(st.sampled_from([{}, {"up": "id + 1"}]))
            return on("add_column", column={"name": new, "type": "int", "nullable": True, **default}, **up)
        case "drop":
            known.numbers.remove(column)
            known.columns.remove(column)
            return on("drop_column", column=column, down="id")
        case "default":
            return on("alter_column", column=column, default=draw(st.sampled_from(["8", "9"])))
        case "check":
            return on("alter_column", column=column, check={"name": f"k_{new}", "constraint": f"{column} < 4000"})
        case "type":
            return on("alter_column", column=column, type="bigint", up=column, down=column)
        case "fill":
            filled = f"coalesce({column}, 1000 + id)"
            return on("alter_column", column=column, nullable=False, up=filled, down=column, lossy=True)
        case "index":
            return on("create_index", name=f"i_{new}", columns=[column, "id"], predicate=f"{column} is not null")
        case "unique":
            return on("create_constraint", name=f"u_{new}", type="unique", columns=[column, "id"])
        case "comment":
            return on("alter_column", column=column, comment=draw(st.sampled_from(["x", "y"])))
    known.table = new
    return [{"rename_table": {"from": table, "to": new}}]


@st.composite
def sequences(draw: st.DrawFn) -> tuple[bool, list[Body]]:
    """Draw operations, on a table that exists or on one that they make."""
    made = draw(st.booleans())
    known = Known(table="m") if made else Known()
    found: list[Body] = []
    if made:
        types = {"id": "int", "a": "int", "b": "int", "c": "text"}
        columns = [{"name": name, "type": kind, "nullable": True} for name, kind in types.items()]
        found.append({"create_table": {"name": "m", "columns": columns}})
    for _ in range(draw(st.integers(2, 5))):
        found += operations(draw, known)
    return made, found


class Named(Cycle):
    """NOT NULL is named by PostgreSQL: after the last names of table and column here, after those of before there."""

    def _without_chance(self, catalogue: Catalogue, data: tables.Data) -> Catalogue:
        kept = [
            table.model_copy(update={"constraints": tuple(c for c in table.constraints if c.kind != "not null")})
            for table in catalogue.tables
        ]
        return catalogue.model_copy(update={"tables": tuple(kept)})


def test_a_sequence_is_what_it_does_one_by_one(conn: Connection, url: str) -> None:
    number, walked = count(), []

    @settings(
        max_examples=SEQUENCES, database=None, derandomize=True, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(sequences())
    def check(drawn: tuple[bool, list[Body]]) -> None:
        made, asked = drawn
        conn.execute(SCHEMA.encode())
        try:
            plain, writes = one_by_one(*asked), "" if made else WRITES
            cycle = Named(Case(name="", schema="", operations=asked, plain=plain, writes=writes), conn, url)
            cycle.migration = Migration(url, asked, name=f"sequence-{next(number)}")
            cycle.migration.engine.plan(cycle.migration.spec)
        except (ValidationError, SpecError, PreflightError):
            # Refused before anything changes: another one is drawn.
            assume(False)
        cycle.all_legs()
        walked.append(asked)

    check()
    assert walked
