"""The plain statements of the operations on constraints."""

from collections.abc import Iterator

from tasks.model.names import quote
from tasks.model.operations import (
    CreateConstraint,
    DropConstraint,
    DropMulticolumnConstraint,
    RenameConstraint,
)
from tasks.model.spec import MigrationSpec


def _table(name: str) -> str:
    return ".".join(quote(part) for part in name.split(".", 1)) if name.startswith("s.") else quote(name)


def dropped_constraints(spec: MigrationSpec) -> Iterator[str]:
    """Drop first what converted values may break, then convert."""
    for op in spec.operations:
        if isinstance(op, DropConstraint | DropMulticolumnConstraint):
            yield f"alter table {_table(op.table)} drop constraint {quote(op.name)}"
    for op in spec.operations:
        if isinstance(op, CreateConstraint | DropMulticolumnConstraint) and op.converted:
            up = op.up or {}
            changes = [
                f"alter column {quote(c)} type {{type of {op.table}.{c}}} using ({up.get(c, quote(c))}\n)"
                for c in op.converted
            ]
            yield f"alter table {_table(op.table)} {', '.join(changes)}"


def new_constraints(spec: MigrationSpec) -> Iterator[str]:
    """Add what is new, and name what has another name."""
    for op in spec.operations:
        if isinstance(op, CreateConstraint):
            yield f"alter table {_table(op.table)} add constraint {quote(op.name)} {_definition(op)}"
        elif isinstance(op, RenameConstraint):
            yield f"alter table {_table(op.table)} rename constraint {quote(op.from_)} to {quote(op.to)}"


def _definition(op: CreateConstraint) -> str:
    if op.check is not None:
        return f"check ({op.check}\n){' no inherit' if op.no_inherit else ''}"
    columns = ", ".join(map(quote, op.columns or ()))
    deferral = " deferrable" if op.deferrable else ""
    deferral += " initially deferred" if op.initially_deferred else ""
    if op.exclude is not None:
        chosen = f" where ({op.exclude.predicate})" if op.exclude.predicate else ""
        return f"exclude using {op.exclude.index_method} ({op.exclude.elements}){chosen}{deferral}"
    if op.references is None:
        return f"{op.type.replace('_', ' ')} ({columns}){deferral}"
    key = op.references
    some = f" ({', '.join(map(quote, key.on_delete_set_columns))})" if key.on_delete_set_columns else ""
    return (
        f"foreign key ({columns}) references {_table(key.table)} ({', '.join(map(quote, key.columns))})"
        f" match {key.match_type} on delete {key.on_delete}{some} on update {key.on_update}{deferral}"
    )
