"""Tables and operations for the cycles of constraints."""

from collections.abc import Mapping
from typing import Any

T = """
create table p (x int, y text, id int unique, primary key (x, y));
insert into p select i, 'p' || i, i * 10 from generate_series(1, 40) i;
create table t (id int primary key, a int, b text, c int, d int);
insert into t select i, i, 'p' || i, case when i % 3 <> 0 then i * 10 end, i % 2 from generate_series(1, 30) i;
"""
W = "insert into t values (31, 31, 'p31', 310, 1), (32, 32, 'p32', null, 0); update t set d = 1 - d where id < 9;"
NO_KEY = T + "alter table t drop constraint t_pkey;"


def create(kind: str, *columns: str, **rest: Any) -> dict[str, Any]:
    covered: Mapping[str, Any] = {"columns": list(columns)} if columns else {}
    return {"create_constraint": {"table": "t", "name": "k", "type": kind, **covered, **rest}}


def drop(**rest: Any) -> dict[str, Any]:
    return {"drop_constraint": {"table": "t", "name": "k", **rest}}


def drop_multi(**rest: Any) -> dict[str, Any]:
    return {"drop_multicolumn_constraint": {"table": "t", "name": "k", **rest}}


def rename(old: str = "k", new: str = "z") -> dict[str, Any]:
    return {"rename_constraint": {"table": "t", "from": old, "to": new}}


def alter(column: str, **rest: Any) -> dict[str, Any]:
    return {"alter_column": {"table": "t", "column": column, **rest}}


def add(definition: str, more: str = "") -> str:
    return f"{T} alter table t add constraint k {definition}; {more}"


P = {"table": "p", "columns": ["x", "y"]}
SAME = {"up": {"a": "a", "b": "b"}, "down": {"a": "a", "b": "b"}}
COMMENT = "comment on constraint k on t is 'it''s';"
