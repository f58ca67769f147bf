"""The fields of a document, with those that hold the rows of another table that refer to its own."""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.other_tables import foreign_key, require_index
from tasks.engines.postgresql.planning.shadow.obstacles import choose_key
from tasks.engines.postgresql.planning.transfer_fields import Types, field_of
from tasks.engines.postgresql.transfer_rows import embedding
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.transfer import ID, TransferSpec
from tasks.model.transfer_fields import Embedded, FieldRule
from tasks.model.transfer_steps import EmbeddedRows, TransferField


def fields_of(types: Types, wanted: TransferSpec) -> Iterator[TransferField]:
    """Yield the fields of a document, `_id` first. Raises SpecError and PreflightError with the place."""
    if ID in wanted.fields:
        yield field_of(types, (ID,), wanted.fields[ID], f"transfer.fields.{ID}")
    else:
        for column in types.key:
            where = (ID,) if len(types.key) == 1 else (ID, column)
            if "." in column or column.startswith("$"):
                raise SpecError(f"{column!r} is no name of a field", where="transfer.fields", hint="Give _id.")
            yield field_of(types, where, FieldRule(column=column), "transfer.fields (_id, from the key)")
    for path, rule in wanted.fields.items():
        at = f"transfer.fields.{path}"
        if rule.embed is not None:
            yield _rows(types, tuple(path.split(".")), rule, rule.embed, at)
        elif path != ID:
            yield field_of(types, tuple(path.split(".")), rule, at)


def _rows(types: Types, path: tuple[str, ...], rule: FieldRule, wanted: Embedded, at: str) -> TransferField:
    child = types.tables.find(wanted.table)
    key = foreign_key(child, types.table, wanted.by, types.tables, at)
    require_index(child, key.columns, at, "each document")
    own = choose_key(child, child, None).columns
    inner = Types(types.conn, child, own, types.tables)
    inner.require_condition(wanted.where, f"{at}.where")
    for column in wanted.order:
        if child.column(column) is None:
            raise SpecError(
                f"{child.full_name} has no column {column!r}", where=f"{at}.order", hint="Correct the name."
            )
    referring = dict(zip(key.referenced_columns, key.columns, strict=True))
    rows = EmbeddedRows(
        table=f"{quote(child.schema_name)}.{quote(child.name)}",
        full_name=child.full_name,
        alias=child.name,
        loose=tuple(column.name for column in child.columns if column.nullable and column.name in key.columns),
        columns=tuple(referring.get(column, "") for column in types.key),
        fields=tuple(
            field_of(inner, tuple(name.split(".")), one, f"{at}.fields.{name}") for name, one in wanted.fields.items()
        ),
        where=wanted.where or "",
    )
    order = tuple(dict.fromkeys((*wanted.order, *own)))
    expression = embedding(rows, types.table.name, tuple(referring.items()), order)
    # There are types that have no order.
    types.of(expression, at)
    return TransferField(
        path=path,
        holds="rows",
        expression=expression,
        source_type=child.full_name,
        unfit=rule.unfit,
        nulls=rule.nulls,
        rows=rows,
    )
