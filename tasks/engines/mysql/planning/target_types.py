"""Which type of PostgreSQL holds the values of a column of MariaDB, what is sent for each, and which do not fit.

What is sent is bytes, as COPY reads them once they are escaped, made by the server itself. PostgreSQL rounds numbers
and moments to the type, and cuts spaces off, without a word: so whatever it would change is a misfit here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tasks.engines.mysql.names import quoted
from tasks.engines.receiving.columns import Sent
from tasks.model.transfer_steps import ZERO, Misfit

BITS: Final = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_INTEGERS: Final = {"smallint": 16, "integer": 32, "bigint": 64}
TEXTS: Final = ("tinytext", "text", "mediumtext", "longtext")
BYTES: Final = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_ALWAYS: Final = {
    "tinyint": "smallint", "smallint": "smallint", "mediumint": "integer", "int": "integer", "bigint": "bigint",
    "year": "smallint", "float": "real", "double": "double precision", "set": "text[]", "date": "date",
    "time": "interval", "uuid": "uuid", "inet4": "inet", "inet6": "inet",
}  # fmt: skip
_UNSIGNED: Final = {"smallint": "integer", "int": "bigint", "bigint": "numeric(20)"}
_SHORT: Final = {
    "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint", "bool": "boolean", "decimal": "numeric",
    "character varying": "varchar", "float8": "double precision", "float4": "real",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Source:
    """A type of MariaDB, taken to pieces."""

    name: str
    arguments: tuple[str, ...]
    unsigned: bool
    value: str
    """SQL of the value."""

    @property
    def first(self) -> int:
        """Length, precision, or fraction of a second."""
        return int(self.arguments[0]) if self.arguments else 0

    @property
    def scale(self) -> int:
        """Digits after the point."""
        return int(self.arguments[1]) if len(self.arguments) > 1 else 0


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A type of PostgreSQL, taken to pieces."""

    name: str
    arguments: tuple[int, ...]

    @property
    def written(self) -> str:
        """As it stands in a statement."""
        return f"{self.name}({', '.join(map(str, self.arguments))})" if self.arguments else self.name


def sent(source_type: str, value: str, wanted: str | None) -> Sent | None:
    """Return what is sent for the value that SQL gives; None where that type does not, or no type does, hold it.

    `wanted` is a type of PostgreSQL; None: the one that holds every value that MariaDB can hold, if there is one.
    """
    source = source_of(source_type, value)
    target = _target(wanted if wanted is not None else _chosen(source))
    if target is None:
        return None
    make = next((how for names, how in _KINDS if source.name in names), None)
    return make(source, target) if make is not None else None


def source_of(source_type: str, value: str = "") -> Source:
    """Take a type of MariaDB to pieces."""
    found = re.match(r"([a-z0-9]+)(?:\((.*?)\))?", source_type.lower(), re.DOTALL)
    name = found[1] if found else ""
    listed = name not in ("enum", "set") and found is not None and bool(found[2])
    arguments = tuple(part.strip() for part in found[2].split(",")) if listed and found is not None else ()
    return Source(name=name, arguments=arguments, unsigned="unsigned" in source_type.lower(), value=value)


def _target(wanted: str) -> _Target | None:
    found = re.fullmatch(
        r"([a-z][a-z0-9 ]*?)\s*(?:\(([0-9, ]+)\))?((?: with(?:out)? time zone)?|\[\])", wanted.strip().lower()
    )
    if found is None:
        return None
    name = re.sub(r"\s+", " ", found[1] + found[3])
    return _Target(
        name=_SHORT.get(name, name), arguments=tuple(int(part) for part in (found[2] or "").split(",") if part.strip())
    )


def _chosen(source: Source) -> str:
    if source.unsigned and source.name in _UNSIGNED:
        return _UNSIGNED[source.name]
    if source.name in ("datetime", "timestamp"):
        return f"{'timestamp' if source.name == 'datetime' else 'timestamptz'}({source.first})"
    if source.name == "decimal":
        return f"numeric({source.first},{source.scale})"
    if source.name == "bit":
        return f"bit({source.first or 1})"
    if source.name in ("char", "varchar") and source.first:
        return f"varchar({source.first})"
    return "bytea" if source.name in BYTES else _ALWAYS.get(source.name, "text")


def _integer(source: Source, target: _Target) -> Sent | None:
    # A sum has no ZEROFILL, and a BIT is a number in it.
    number = f"({source.value} + 0)"
    text = _plain(number)
    bits = BITS.get(source.name, (source.first or 1) if source.name == "bit" else 12)
    unsigned = source.unsigned or source.name in ("bit", "year")
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if target.name == "bit" and source.name == "bit":
        same = target.arguments == (source.first or 1,)
        return Sent(type=target.written, text=f"cast(lpad(bin({number}), {bits}, '0') as binary)") if same else None
    if target.name == "boolean":
        return Sent(type="boolean", text=text, misfits=(_misfit("neither 0 nor 1", f"{number} not in (0, 1)"),))
    if target.name == "text" and source.name != "bit":
        return Sent(type="text", text=text)
    if target.name == "numeric":
        most = 10 ** (target.arguments[0] - (*target.arguments, 0)[1]) - 1 if target.arguments else high
        return Sent(type=target.written, text=text, misfits=_beyond(number, (low, high), (-most, most)))
    if target.name not in _INTEGERS or target.arguments:
        return None
    room = _INTEGERS[target.name]
    limits = (-(2 ** (room - 1)), 2 ** (room - 1) - 1)
    return Sent(type=target.name, text=text, misfits=_beyond(number, (low, high), limits))


def _beyond(number: str, found: tuple[int, int], limits: tuple[int, int]) -> tuple[Misfit, ...]:
    wrong = [f"{number} < {limits[0]}"] if found[0] < limits[0] else []
    wrong += [f"{number} > {limits[1]}"] if found[1] > limits[1] else []
    return (_misfit("out of the range of the type", " or ".join(wrong)),) if wrong else ()


def _decimal(source: Source, target: _Target) -> Sent | None:
    number = f"({source.value} + 0)"
    text = _plain(number)
    if target.name == "text":
        return Sent(type="text", text=text)
    if target.name == "numeric":
        if not target.arguments:
            return Sent(type="numeric", text=text)
        digits, scale = (*target.arguments, 0)[:2]
        wrong = []
        if scale < source.scale:
            wrong.append(_misfit("more digits after the point", f"truncate({number}, {scale}) <> {number}"))
        if digits - scale < source.first - source.scale:
            wrong.append(_misfit("out of the range of the type", f"abs({number}) >= 1{'0' * (digits - scale)}"))
        return Sent(type=target.written, text=text, misfits=tuple(wrong))
    if target.name not in _INTEGERS or target.arguments:
        return None
    room = _INTEGERS[target.name]
    whole = f"truncate({number}, 0)"
    return Sent(
        type=target.name,
        text=_plain(whole),
        misfits=(
            _misfit("more digits after the point", f"{whole} <> {number}"),
            _misfit(
                "out of the range of the type", f"{number} < {-(2 ** (room - 1))} or {number} > {2 ** (room - 1) - 1}"
            ),
        ),
    )


def _double(source: Source, target: _Target) -> Sent | None:
    names = ("real", "double precision") if source.name == "float" else ("double precision",)
    # The text of a FLOAT is shorter than its value.
    return Sent(type=target.name, text=_plain(f"cast({source.value} as double)")) if target.name in names else None


def _text(source: Source, target: _Target) -> Sent | None:
    # The collations of MariaDB may call U+0000 nothing; its bytes are there.
    encoded = f"cast(convert({source.value} using utf8mb4) as binary)"
    if target.name == "bytea":
        return Sent(type="bytea", text=encoded, form="bytes")
    zero = _misfit(ZERO, f"instr({encoded}, 0x00) > 0")
    if target.name == "text" or (target.name == "varchar" and not target.arguments):
        return Sent(type=target.name, text=encoded, form="text", misfits=(zero,))
    if target.name != "varchar":
        return None
    most = target.arguments[0]
    longer = source.first > most or source.name not in ("char", "varchar")
    wrong = (_misfit(f"longer than {most} characters", f"char_length({source.value}) > {most}"),) if longer else ()
    return Sent(type=target.written, text=encoded, form="text", misfits=(zero, *wrong))


def _enum(source: Source, target: _Target) -> Sent | None:
    made = _text(source, target)
    if made is None:
        return None
    empty = _misfit("the empty value that stands for an invalid one", f"({source.value} + 0) = 0")
    return made.model_copy(update={"misfits": (empty, *made.misfits)})


def _set(source: Source, target: _Target) -> Sent | None:
    if target.name != "text[]":
        return _text(source, target)
    encoded = f"cast(convert({source.value} using utf8mb4) as binary)"
    # No member has a comma in it.
    inside = encoded
    for found, written in (("\\", "\\\\"), ('"', '\\"'), (",", '","')):
        inside = f"replace({inside}, {quoted(found)}, {quoted(written)})"
    listed = f"if({encoded} = '', '{{}}', concat('{{\"', {inside}, '\"}}'))"
    zero = _misfit(ZERO, f"instr({encoded}, 0x00) > 0")
    return Sent(type="text[]", text=f"cast({listed} as binary)", form="text", misfits=(zero,))


def _bytes(source: Source, target: _Target) -> Sent | None:
    if target.name == "bytea":
        return Sent(type="bytea", text=source.value, form="bytes")
    if target.name == "uuid":
        wrong = _misfit("not 16 bytes", f"length({source.value}) <> 16")
        return Sent(type="uuid", text=f"cast(hex({source.value}) as binary)", misfits=(wrong,))
    return None


def _moment(source: Source, target: _Target) -> Sent | None:
    value = source.value
    text = _plain(value)
    if target.name == "text":
        return Sent(type="text", text=text)
    names = {"date": ("date",), "datetime": ("timestamp", "timestamptz"), "timestamp": ("timestamptz",)}
    if target.name not in names[source.name] or (target.arguments and target.arguments[0] < source.first):
        return None
    wrong = _misfit(
        "no day of the calendar",
        f"case when year({value}) = 0 or month({value}) = 0 or day({value}) = 0 then true"
        f" when day({value}) > 28 then day({value}) > day(last_day({value})) else false end",
    )
    # Our sessions are in UTC: that is what a TIMESTAMP shows, and what a DATETIME is taken for where that is asked for.
    zone = f"concat({text}, '+00')" if target.name == "timestamptz" else text
    return Sent(type=target.written, text=zone, misfits=(wrong,))


def _time(source: Source, target: _Target) -> Sent | None:
    text = _plain(source.value)
    if target.name == "interval" and not target.arguments:
        return Sent(type="interval", text=text)
    if target.name == "text":
        return Sent(type="text", text=text)
    if target.name != "time" or (target.arguments and target.arguments[0] < source.first):
        return None
    day = f"{source.value} < cast('00:00:00' as time(6)) or {source.value} > cast('24:00:00' as time(6))"
    return Sent(type=target.written, text=text, misfits=(_misfit("no time of a day", day),))


def _as_printed(source: Source, target: _Target) -> Sent | None:
    names = ("uuid", "text") if source.name == "uuid" else ("inet", "text")
    return Sent(type=target.name, text=_plain(source.value)) if target.name in names else None


def _misfit(reason: str, when: str) -> Misfit:
    return Misfit(reason=reason, when=when)


def _plain(sql: str) -> str:
    """What has nothing to escape, as bytes: bytes of whatever column can stand beside each other."""
    return f"cast(cast({sql} as char) as binary)"


_KINDS: Final[tuple[tuple[tuple[str, ...], Callable[[Source, _Target], Sent | None]], ...]] = (
    ((*BITS, "bit", "year"), _integer),
    (("decimal",), _decimal),
    (("float", "double"), _double),
    (("char", "varchar", *TEXTS, "json"), _text),
    (("enum",), _enum),
    (("set",), _set),
    (BYTES, _bytes),
    (("date", "datetime", "timestamp"), _moment),
    (("time",), _time),
    (("uuid", "inet4", "inet6"), _as_printed),
)
