# ruff: noqa: E501 - one conversion a line reads better than one folded
"""Types of columns with some of their values, as PostgreSQL prints them, and conversions that lose nothing."""

from collections.abc import Callable
from dataclasses import dataclass

Value = str | None
"""What a column holds, as text."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type, and values of it."""

    name: str
    sql: str
    values: tuple[str, ...]
    sorted: bool = True
    """A B-tree index can be made of it; so it can be unique, and compared."""


def _kind(name: str, sql: str, *values: str, ordered: bool = True) -> Kind:
    return Kind(name=name, sql=sql, values=values, sorted=ordered)


UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"
KINDS = {
    one.name: one
    for one in (
        _kind("smallint", "smallint", "0", "1", "-7", "32766"),
        _kind("int", "integer", "0", "1", "-7", "13", "2147483646"),
        _kind("bigint", "bigint", "0", "1", "-7", "9223372036854775806"),
        _kind("numeric", "numeric(12,2)", "0.00", "1.50", "-7.25"),
        _kind("double", "double precision", "0", "1.5", "NaN", "-Infinity"),
        _kind("text", "text", "", "a", "A b", "é'\"\\ %", "x" * 2500),
        _kind("varchar", "character varying(40)", "", "a", "Ünï 🐘", "'"),
        _kind("char", "character(3)", "", "ab", "xyz"),
        _kind("bool", "boolean", "true", "false"),
        _kind("date", "date", "2024-02-29", "infinity", "0044-03-15 BC"),
        _kind(
            "timestamptz",
            "timestamp with time zone",
            "2024-02-29 12:00:00+00",
            "-infinity",
            "1999-12-31 23:59:59.999999+00",
        ),
        _kind("interval", "interval", "1 day", "00:00:01", "-1 years"),
        _kind("uuid", "uuid", UUID + "1", UUID + "2", UUID + "3"),
        _kind("jsonb", "jsonb", '{"a": null}', "[]", "null", '"é"'),
        _kind("json", "json", '{"a":1}', "[]", ordered=False),
        _kind("point", "point", "(1,2)", "(0,0)", ordered=False),
        _kind("bytea", "bytea", "\\x", "\\x00ff", "\\x5c27"),
        _kind("ints", "integer[]", "{}", "{1,NULL,3}", "{7}"),
        _kind("inet", "inet", "10.0.0.1/8", "192.168.0.0/16"),
        _kind("range", "int4range", "empty", "[1,5)"),
        _kind("bits", "bit varying(9)", "101", ""),
        _kind("mood", "mood", "sad", "ok", "it's"),
        _kind("short", "short", "", "a", "''"),
    )
}
MADE = """
create type mood as enum ('sad', 'ok', 'it''s');
create domain short as varchar(9) check (value <> 'never');
"""
"""The types that are the user's own."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Another type, or other values; `{c}` stands for the column."""

    name: str
    of: tuple[str, ...]
    to: str | None
    """Another type, by its name."""
    up: str
    down: str
    there: Callable[[str], str]
    back: Callable[[str], str]


def _same(value: str) -> str:
    return value


def _conversion(
    name: str,
    of: str,
    to: str | None,
    up: str = "{c}",
    down: str = "{c}",
    there: Callable[[str], str] = _same,
    back: Callable[[str], str] = _same,
) -> Conversion:
    return Conversion(name=name, of=tuple(of.split()), to=to, up=up, down=down, there=there, back=back)


def _negative(value: str) -> str:
    return value[1:] if value.startswith("-") else value if value in ("0", "0.00") else "-" + value


CONVERSIONS = [
    _conversion("widen", "smallint", "int"),
    _conversion("widen", "int smallint", "bigint"),
    _conversion("widen", "varchar char short", "text"),
    _conversion("widen", "mood", "text", "{c}::text", "{c}::mood"),
    _conversion("shift", "int bigint smallint numeric", None, "-{c}", "-{c}", _negative, _negative),
    _conversion("as text", "smallint", "text", "{c}::text", "{c}::smallint"),
    _conversion("as text", "int", "text", "{c}::text", "{c}::int"),
    _conversion("as text", "bigint", "text", "{c}::text", "{c}::bigint"),
    _conversion("as text", "uuid", "text", "{c}::text", "{c}::uuid"),
    _conversion("as text", "bool", "text", "{c}::text", "{c}::boolean"),
    _conversion("as text", "ints", "text", "{c}::text", "{c}::int[]"),
    _conversion("as number", "int smallint", "numeric", "{c}", "{c}", lambda v: v + ".00", lambda v: v[:-3]),
    _conversion("as number", "bool", "int", "{c}::int", "{c} <> 0", lambda v: "1" if v == "true" else "0", lambda v: "true" if v != "0" else "false"),
    _conversion("mark", "text", None, "'<' || {c}", "substr({c}, 2)", lambda v: "<" + v, lambda v: v[1:]),
    _conversion("as bytes", "text varchar", "bytea", "convert_to({c}, 'UTF8')", "convert_from({c}, 'UTF8')",
                lambda v: "\\x" + v.encode().hex(), lambda v: bytes.fromhex(v[2:]).decode()),
    _conversion("longer", "bytea", None, "'\\x01'::bytea || {c}", "substr({c}, 2)", lambda v: "\\x01" + v[2:], lambda v: "\\x" + v[4:]),
    _conversion("longer", "ints", None, "array_append({c}, 8)", "trim_array({c}, 1)",
                lambda v: "{8}" if v == "{}" else v[:-1] + ",8}", lambda v: "{}" if v == "{8}" else v[:-3] + "}"),
    _conversion("wrapped", "jsonb", None, """jsonb_set('{"v": 0}', '{v}', {c})""", "{c} -> 'v'", lambda v: '{"v": ' + v + "}", lambda v: v[6:-1]),
]  # fmt: skip
