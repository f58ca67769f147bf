"""The table of MariaDB that rows come into, wherever they are from."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from tasks.engines.mysql.names import quote
from tasks.engines.receiving.plan import helpers_of
from tasks.model.errors import SpecError
from tasks.model.spec import MigrationSpec
from tasks.model.transfer import Destination
from tasks.model.transfer_steps import Relation, TransferColumn

FORMAT: Final = "row_format=dynamic"
"""Whatever the server makes unless told: others have shorter keys, and 768 bytes of each long text in the page."""
EXACT: Final = "character set utf8mb4 collate utf8mb4_nopad_bin"
"""Texts are equal where the bytes are, spaces at the end included."""
_KEPT: Final = ("db_row_id", "db_trx_id", "db_roll_ptr", "fts_doc_id")
_IN_A_KEY: Final = (
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "varchar", "varbinary", "uuid", "date", "datetime",
    "time",
)  # fmt: skip
_KEY_BYTES: Final = 3072
_KEY_COLUMNS: Final = 16
_ROW_BYTES: Final = 60_000
"""A row has 65,535 bytes, without what lies outside of it."""


def relation(
    spec: MigrationSpec,
    to: Destination,
    source: str,
    columns: Sequence[TransferColumn],
    key: Sequence[str],
    defaults: Mapping[str, str],
    *,
    numbered: str = "",
    next_number: str = "",
) -> Relation:
    """Return the table that is made; `source` is what the rows are of. The same whenever this migration is planned."""
    name = to.table or ""
    if "." in name:
        raise SpecError(
            "MariaDB has no schemas: a table stands in the database of the URL",
            where="transfer.to.table",
            hint="Write the name of the table alone.",
        )
    helpers = helpers_of(spec, source)
    lines = [_line(one, defaults.get(one.name, ""), numbered=one.name == numbered) for one in columns]
    body = ",\n  ".join([*lines, f"primary key ({', '.join(map(quote, key))})"])
    empty = Relation(
        engine="mariadb",
        database=to.database,
        schema_name="",
        name=name,
        helpers=helpers,
        create="",
        numbered=numbered,
        next_number=next_number,
        does="make",
    )
    # InnoDB, whatever the server makes unless told: rows and their account commit together.
    made = f"create table {empty.staged} (\n  {body}\n) engine=InnoDB {FORMAT} default {EXACT}"
    return empty.model_copy(update={"create": made})


def _line(one: TransferColumn, default: str, *, numbered: bool) -> str:
    null = "null" if one.nullable else "not null"
    more = " auto_increment" if numbered else f" default {default}" if default else ""
    return f"{quote(one.name)} {one.type} {null}{more}"


def require_names(columns: Sequence[TransferColumn], table: str) -> None:
    """Refuse names that MariaDB does not take, or takes for the same. Raises SpecError with the column."""
    found: dict[str, str] = {}
    named = [("transfer.to.table", table), *((f"transfer.columns.{one.name}", one.name) for one in columns)]
    for at, name in named:
        if name.endswith(" ") or any(character > "\uffff" for character in name):
            raise SpecError(
                f"MariaDB takes no name like {name!r}",
                where=at,
                hint="Give it another: none that ends with a space, or has characters beyond U+FFFF.",
            )
    for at, name in named[1:]:
        if name.lower() in _KEPT:
            raise SpecError(
                f"InnoDB keeps a column of the name {name!r} for itself",
                where=at,
                hint="Give it another name in `columns`, or leave it out with `omit`.",
            )
        # Whatever the case, and without accents: so names of columns are compared there.
        plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
        if plain in found:
            raise SpecError(
                f"MariaDB takes {name!r} and {found[plain]!r} for the same name",
                where=at,
                hint="Give one of them another name in `columns`, or leave it out with `omit`.",
            )
        found[plain] = name


def require_key(columns: Sequence[TransferColumn], key: Sequence[str]) -> None:
    """Refuse a key that no table of MariaDB can have. Raises SpecError with the column."""
    if len(key) > _KEY_COLUMNS:
        raise SpecError(
            f"the key has {len(key)} columns, and MariaDB allows {_KEY_COLUMNS}",
            where="backfill.key",
            hint="Name a unique key of fewer columns.",
        )
    size = 0
    for name in key:
        one = next(column for column in columns if column.name == name)
        kind = one.type.split("(")[0].split(" ")[0]
        if kind not in _IN_A_KEY:
            raise SpecError(
                f"a {one.type} of MariaDB does not tell rows apart",
                where=f"transfer.columns.{name}",
                hint="Give it a type that may be in a key: varchar(n), varbinary(n), decimal(p,s), an integer.",
            )
        size += _bytes(one)
    if size > _KEY_BYTES:
        raise SpecError(
            f"the key has up to {size:,} bytes, and MariaDB allows {_KEY_BYTES:,}: four for each character",
            where="transfer.columns",
            hint="Give shorter types to its columns: varchar(n), varbinary(n); longer values do not fit, then.",
        )


def require_width(columns: Sequence[TransferColumn]) -> None:
    """Refuse columns that no row of MariaDB holds together. Raises SpecError."""
    size = sum(map(_bytes, columns))
    if size > _ROW_BYTES:
        raise SpecError(
            f"a row has up to {size:,} bytes, and MariaDB allows {_ROW_BYTES:,} outside of long texts",
            where="transfer.columns",
            hint="Give the type longtext to the longest columns of varchar.",
        )


def _bytes(one: TransferColumn) -> int:
    found = re.match(r"(varchar|varbinary)\(([0-9]+)\)", one.type)
    if found is None:
        # Of those that lie elsewhere the row has the place.
        return 40
    return int(found[2]) * (4 if found[1] == "varchar" else 1) + 2
