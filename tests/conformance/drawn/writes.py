"""Statements drawn at random, by values as the old version knows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from tests.conformance.drawn.changes import Change
from tests.conformance.drawn.kinds import Value
from tests.conformance.drawn.schema import Key, Schema, key_values

Version = Literal["old", "new"]
KINDS = ("insert", "insert", "update", "update", "update", "delete", "upsert", "key", "all", "child", "parent")


@dataclass(frozen=True, kw_only=True)
class Write:
    """One statement; values as the old version knows them."""

    version: Version
    what: str
    key: Key
    to: Key
    values: Mapping[str, Value]
    extra: Mapping[str, Value]
    """Of columns that only the new version has."""
    number: int


def writes(schema: Schema, change: Change) -> st.SearchStrategy[list[Write]]:
    """Draw a few statements."""
    given = {
        one.name: st.sampled_from([*one.pool, *([None] if one.nullable else [])])
        for one in schema.columns
        if one.of is None and one.name not in schema.key
    }
    extra = {
        one.name: st.sampled_from([*one.kind.values, *([None] if one.nullable else [])])
        for one in change.fields
        if one.column is None
    }
    keys = key_values(schema)
    one = st.builds(
        Write,
        version=st.sampled_from(["old", "new"]),
        what=st.sampled_from(KINDS),
        key=keys,
        to=keys,
        values=st.fixed_dictionaries({}, optional=given),
        extra=st.fixed_dictionaries({}, optional=extra),
        number=st.integers(0, 5),
    )
    return st.lists(one, min_size=3, max_size=10)
