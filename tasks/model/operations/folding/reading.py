"""Which `up` and `down` read a column that another operation of the spec gives other values.

As migrations of their own the second would read what the first has made. In one spec each `up` reads the row as it is
before all of it, and each `down` as it is after; who wrote the two one below the other is told so.
"""

from collections.abc import Iterator, Mapping, Sequence

from tasks.model.operations.base import Manner, Operation
from tasks.model.operations.folding.names_within import mentions


def read_before(operations: Sequence[Operation]) -> Iterator[str]:
    """Yield a sentence for each expression that reads a column which an operation of another number converts."""
    for number, op in enumerate(operations):
        for way, expressions in (("up", _expressions(op, "up")), ("down", _expressions(op, "down"))):
            others = range(number) if way == "up" else range(number + 1, len(operations))
            for other in others:
                for column in _converted(operations[other], op.tables):
                    if column not in expressions and any(mentions(text, column) for text in expressions.values()):
                        when = "it is before the whole spec" if way == "up" else "it will be after the whole spec"
                        yield (
                            f"operations[{number}].{op.kind}: `{way}` reads {column} as {when}, whatever"
                            f" operations[{other}].{operations[other].kind} makes of it"
                        )


def _expressions(op: Operation, way: str) -> Mapping[str, str]:
    """Return the expressions of an operation by the columns that they are for."""
    said = getattr(op, way, None)
    if isinstance(said, Mapping):
        return said
    column = getattr(op, "column", None)
    if not isinstance(said, str) or column is None:
        return {}
    return {getattr(column, "name", column): said}


def _converted(op: Operation, tables: Sequence[str]) -> Iterator[str]:
    """Yield the columns of tables that an operation gives other values."""
    for claim in op.claims():
        if claim.manner is Manner.CHANGES and claim.table in tables:
            yield claim.column
