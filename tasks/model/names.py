"""Identifiers: validation, quoting, and the names that Changeover gives to its own objects."""

import hashlib
from typing import Annotated

from pydantic import AfterValidator

# PostgreSQL truncates silently beyond NAMEDATALEN - 1 bytes; MySQL refuses beyond 64 characters.
MAX_BYTES = 63
OWN_PREFIX = "_changeover_"
OWN_TRIGGERS = "zzz_changeover_"
"""How the names of our triggers begin, which fire last."""


def _identifier(value: str) -> str:
    if not value:
        raise ValueError("a name cannot be empty")
    if "\x00" in value:
        raise ValueError("a name cannot contain the character U+0000")
    size = len(value.encode())
    if size > MAX_BYTES:
        raise ValueError(f"the name is {size} bytes long; the database allows {MAX_BYTES}: shorten it")
    if value.startswith(OWN_PREFIX):
        raise ValueError(f"names that start with {OWN_PREFIX!r} are kept for Changeover: choose another")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
"""A name of a column, index or constraint, as the catalogue holds it: without quotes, case kept."""


def _table(value: str) -> str:
    schema, dot, name = value.rpartition(".")
    _identifier(name)
    if dot:
        _identifier(schema)
    return value


TableName = Annotated[str, AfterValidator(_table)]
"""`table` or `schema.table`, as the catalogue holds it; without a schema, `search_path` decides."""


def quote(name: str) -> str:
    """Quote an identifier, always; a quote within it is doubled."""
    return '"' + name.replace('"', '""') + '"'


def backticked(name: str) -> str:
    """Quote an identifier as MariaDB does, always; a backtick within it is doubled."""
    return "`" + name.replace("`", "``") + "`"


def own_name(role: str, base: str) -> str:
    """Return the name of an object of ours that stands for `base`, at most 63 bytes.

    The same arguments give the same name in every process; two long bases that share a beginning stay apart.
    """
    name = f"{OWN_PREFIX}{role}_{base}"
    if len(name.encode()) <= MAX_BYTES:
        return name
    tail = hashlib.sha256(base.encode()).hexdigest()[:8]
    room = MAX_BYTES - len(f"{OWN_PREFIX}{role}__{tail}".encode())
    head = base.encode()[:room].decode(errors="ignore")
    return f"{OWN_PREFIX}{role}_{head}_{tail}"
