"""Which type of MariaDB holds the values of a column of PostgreSQL, what is sent for each, and which do not fit.

What is sent is text that MariaDB reads as a literal, made by PostgreSQL. MariaDB rounds numbers and moments to the type
with a note at most: so whatever it would change is a misfit here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tasks.engines.receiving.columns import Sent
from tasks.model.transfer_steps import Misfit

_KEY: Final = 255
"""Characters, or bytes, of a text without a length in a key."""
_LONGEST: Final = 4000
"""Characters of a VARCHAR, unless asked for: all of a row together have 65,535 bytes. A longer one is a LONGTEXT."""
_MOST_DIGITS, _MOST_SCALE = 65, 38
_BITS: Final = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_INTEGERS: Final = {"smallint": "smallint", "integer": "int", "bigint": "bigint"}
_SHORT: Final = {
    "integer": "int", "numeric": "decimal", "dec": "decimal", "double precision": "double", "bool": "tinyint",
    "boolean": "tinyint",
}  # fmt: skip
_DEPTH: Final = 30
"""Levels of JSON that every MariaDB reads: it refuses more than 31."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A type of PostgreSQL, taken to pieces."""

    name: str
    arguments: tuple[int, ...]
    value: str
    """SQL of the value."""
    key: bool
    """Whether it is a part of the key."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A type of MariaDB, taken to pieces."""

    name: str
    arguments: tuple[int, ...] = ()
    unsigned: bool = False

    @property
    def written(self) -> str:
        """As it stands in a statement."""
        listed = f"({', '.join(map(str, self.arguments))})" if self.arguments else ""
        return f"{self.name}{listed}{' unsigned' if self.unsigned else ''}"


def sent_to_mariadb(source_type: str, value: str, wanted: str | None, *, enum: bool, key: bool) -> Sent | None:
    """Return what is sent for the value that SQL gives; None where that type does not, or no type does, hold it."""
    name, arguments = _taken_apart(source_type)
    source = _Source(name="enum" if enum else name, arguments=arguments, value=value, key=key)
    target = _target(wanted) if wanted is not None else None
    if wanted is not None and target is None:
        return None
    if target is not None and target.name in ("longtext", "varchar"):
        return None if source.name == "bytea" else _text(source, target)
    make = next((make for names, make in _KINDS if source.name in names), None)
    return make(source, target) if make is not None else None


def _taken_apart(source_type: str) -> tuple[str, tuple[int, ...]]:
    found = re.fullmatch(r"([a-z ]+?)(?:\((-?[0-9]+)(?:,(-?[0-9]+))?\))?( with(?:out)? time zone)?", source_type)
    if found is None:
        return source_type, ()
    return found[1] + (found[4] or ""), tuple(int(one) for one in found.groups()[1:3] if one is not None)


def _target(wanted: str) -> _Target | None:
    found = re.fullmatch(r"([a-z][a-z ]*?)\s*(?:\(([0-9]+)(?:\s*,\s*([0-9]+))?\))?( unsigned)?", wanted.strip().lower())
    if found is None:
        return None
    name = re.sub(r"\s+", " ", found[1])
    arguments = tuple(int(one) for one in found.groups()[1:3] if one is not None)
    if name in ("bool", "boolean"):
        arguments = (1,)
    return _Target(name=_SHORT.get(name, name), arguments=arguments, unsigned=bool(found[4]))


def _integer(source: _Source, target: _Target | None) -> Sent | None:
    target = target or _Target(name=_INTEGERS[source.name])
    if target.name == "decimal":
        return _decimal(source, target)
    return _whole(source, target)


def _whole(source: _Source, target: _Target) -> Sent | None:
    """Return what is sent to a type of whole numbers."""
    if target.name not in _BITS or len(target.arguments) > 1:
        return None
    bits = _BITS[target.name]
    low, high = (0, 2**bits - 1) if target.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    room = {"smallint": 16, "integer": 32, "bigint": 64}.get(source.name)
    value, wrong = source.value, []
    if room is None:
        # NaN is equal to itself, and rounded it is none of the others.
        wrong.append(_misfit("no number", f"{value} in ('NaN', 'Infinity', '-Infinity')"))
        wrong.append(_misfit("more digits after the point", f"pg_catalog.trunc({value}) <> {value}"))
    beyond = [f"{value} < {low}"] if room is None or -(2 ** (room - 1)) < low else []
    beyond += [f"{value} > {high}"] if room is None or 2 ** (room - 1) - 1 > high else []
    if beyond:
        wrong.append(_misfit("out of the range of the type", " or ".join(beyond)))
    text = f"pg_catalog.trunc({value})::text" if room is None else f"{value}::text"
    return Sent(type=target.written, text=text, misfits=tuple(wrong))


def _decimal(source: _Source, target: _Target | None) -> Sent | None:
    digits, scale = (*source.arguments, 0)[:2] if source.arguments else (_MOST_DIGITS, 30)
    held = bool(source.arguments) and 0 <= scale <= min(digits, _MOST_SCALE) and digits <= _MOST_DIGITS
    if target is None:
        target = _Target(name="decimal", arguments=(digits, scale) if held else (_MOST_DIGITS, 30))
    if target.name in _BITS:
        return _whole(source, target)
    if target.name != "decimal" or target.unsigned:
        return None
    room, places = (*(target.arguments or (10,)), 0)[:2]
    if not (0 < room <= _MOST_DIGITS and places <= min(room, _MOST_SCALE)):
        return None
    value, wrong = source.value, []
    if source.name == "numeric":
        wrong.append(_misfit("no number", f"{value} in ('NaN', 'Infinity', '-Infinity')"))
        if not (held and scale <= places):
            wrong.append(_misfit("more digits after the point", f"pg_catalog.round({value}, {places}) <> {value}"))
    if not (held and digits - scale <= room - places):
        wrong.append(_misfit("out of the range of the type", f"pg_catalog.abs({value}::numeric) >= 1e{room - places}"))
    written = f"decimal({room},{places})"
    return Sent(type=written, text=f"{value}::text", misfits=tuple(wrong))


def _double(source: _Source, target: _Target | None) -> Sent | None:
    target = target or _Target(name="float" if source.name == "real" else "double")
    names = ("float", "double") if source.name == "real" else ("double",)
    if target.name not in names or target.arguments or target.unsigned:
        return None
    # The shortest text of a real is that of another double; this one is the value itself.
    text = f"{source.value}::float8::text"
    wrong = _misfit("no number", f"{source.value} in ('NaN', 'Infinity', '-Infinity')")
    # MariaDB makes 0 of it.
    zero = _misfit("a zero with a sign", f"{source.value} = 0 and {text} = '-0'")
    return Sent(type=target.name, text=text, misfits=(wrong, zero))


def _boolean(source: _Source, target: _Target | None) -> Sent | None:
    target = target or _Target(name="tinyint", arguments=(1,))
    if target.name not in _BITS:
        return None
    return Sent(type=target.written, text=f"{source.value}::int4::text")


def _text(source: _Source, target: _Target | None) -> Sent | None:
    characters = source.name in ("text", "character varying", "character", "enum")
    longest = 63 if source.name == "enum" else source.arguments[0] if characters and source.arguments else None
    if target is None:
        if longest is None:
            target = _Target(name="varchar", arguments=(_KEY,)) if source.key else _Target(name="longtext")
        else:
            short = longest <= _LONGEST or source.key
            target = _Target(name="varchar", arguments=(longest,)) if short else _Target(name="longtext")
    text = f"{source.value}::text"
    if target.name == "longtext":
        return Sent(type="longtext", text=text, form="text") if not target.arguments else None
    if target.name != "varchar" or len(target.arguments) != 1:
        return None
    most = target.arguments[0]
    long = _misfit(f"longer than {most} characters", f"pg_catalog.length({text}) > {most}")
    fits = longest is not None and longest <= most
    return Sent(type=f"varchar({most})", text=text, form="text", misfits=() if fits else (long,))


def _bytes(source: _Source, target: _Target | None) -> Sent | None:
    target = target or (_Target(name="varbinary", arguments=(_KEY,)) if source.key else _Target(name="longblob"))
    text = f"pg_catalog.encode({source.value}, 'hex')"
    if target.name == "longblob" and not target.arguments:
        return Sent(type="longblob", text=text, form="bytes")
    if target.name != "varbinary" or len(target.arguments) != 1:
        return None
    most = target.arguments[0]
    long = _misfit(f"longer than {most} bytes", f"pg_catalog.length({source.value}) > {most}")
    return Sent(type=target.written, text=text, form="bytes", misfits=(long,))


def _uuid(source: _Source, target: _Target | None) -> Sent | None:
    return Sent(type="uuid", text=f"{source.value}::text") if target in (None, _Target(name="uuid")) else None


def _json(source: _Source, target: _Target | None) -> Sent | None:
    target = target or _Target(name="json" if source.name == "jsonb" else "longtext")
    if target.name == "longtext":
        return _text(source, target)
    if target != _Target(name="json") or source.name != "jsonb":
        # Text of the type json may be no JSON to MariaDB.
        return None
    deep = _misfit(f"deeper than {_DEPTH} levels", f"{source.value} @? 'strict $.**{{{_DEPTH} to last}}'")
    return Sent(type="json", text=f"{source.value}::text", form="text", misfits=(deep,))


def _date(source: _Source, target: _Target | None) -> Sent | None:
    if target not in (None, _Target(name="date")):
        return None
    return Sent(type="date", text=f"{source.value}::text", misfits=(_beyond(source.value, "date"),))


def _moment(source: _Source, target: _Target | None) -> Sent | None:
    held = source.arguments[0] if source.arguments else 6
    target = target or _Target(name="datetime", arguments=(held,))
    if target.name != "datetime" or target.unsigned:
        return None
    places = target.arguments[0] if target.arguments else 0
    if places > 6:
        return None
    utc = f"({source.value} at time zone 'UTC')" if source.name.endswith("with time zone") else source.value
    wrong = [_beyond(utc, "timestamp")]
    if places < held:
        wrong.append(_misfit("more digits of a second", f"{utc}::timestamp({places}) <> {utc}"))
    return Sent(type=f"datetime({places})", text=f"{utc}::text", misfits=tuple(wrong))


def _time(source: _Source, target: _Target | None) -> Sent | None:
    held = source.arguments[0] if source.arguments else 6
    target = target or _Target(name="time", arguments=(held,))
    places = target.arguments[0] if target.arguments else 0
    if target.name != "time" or not held <= places <= 6:
        return None
    return Sent(type=f"time({places})", text=f"{source.value}::text")


def _beyond(value: str, kind: str) -> Misfit:
    return _misfit(
        "infinite, or outside of the years 1 to 9999",
        f"not ({value} >= {kind} '0001-01-01' and {value} < {kind} '10000-01-01')",
    )


def _misfit(reason: str, when: str) -> Misfit:
    return Misfit(reason=reason, when=when)


_KINDS: Final[tuple[tuple[tuple[str, ...], Callable[[_Source, _Target | None], Sent | None]], ...]] = (
    (tuple(_INTEGERS), _integer),
    (("numeric",), _decimal),
    (("real", "double precision"), _double),
    (("boolean",), _boolean),
    (("text", "character varying", "character", "enum"), _text),
    (("bytea",), _bytes),
    (("uuid",), _uuid),
    (("json", "jsonb"), _json),
    (("date",), _date),
    (("timestamp without time zone", "timestamp with time zone"), _moment),
    (("time without time zone",), _time),
)
