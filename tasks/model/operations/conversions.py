"""Values that several columns take on together: one expression a column, in either direction."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from tasks.model.names import Identifier, quote
from tasks.model.operations.base import Claim, Contradiction, Manner
from tasks.model.operations.text import Expression

Expressions = Annotated[Mapping[Identifier, Expression], Field(min_length=1)]
"""An expression for each of some columns."""

_WORD = re.compile(r"[a-z_][a-z0-9_$]*")


def is_column(expression: str | None, column: str) -> bool:
    """Tell whether an expression gives the column as it is; without one, it does."""
    if expression is None:
        return True
    text = expression.strip()
    return text == quote(column) or (text.lower() == column and _WORD.fullmatch(column) is not None)


def converted(up: Mapping[str, str] | None, down: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the columns that take on other values; the others stay in place."""
    up, down = up or {}, down or {}
    columns = dict.fromkeys((*up, *down))
    return tuple(c for c in columns if not (is_column(up.get(c), c) and is_column(down.get(c), c)))


def lossy_without_conversion(*, lossy: bool, converts: bool) -> Iterator[Contradiction]:
    """Refuse `lossy` where nothing is converted."""
    if lossy and not converts:
        yield Contradiction(
            at=("lossy",), reason="lossy says something about down, and nothing is converted", hint="Remove lossy."
        )


def given_claims(table: str, up: Mapping[str, str] | None, down: Mapping[str, str] | None) -> Iterator[Claim]:
    """Yield a claim for each column that `up` or `down` names: changed, or kept as it is."""
    changed = converted(up, down)
    for direction, expressions in (("up", up or {}), ("down", down or {})):
        for column in expressions:
            if direction == "up" or column not in (up or {}):
                manner = Manner.CHANGES if column in changed else Manner.READS
                yield Claim(table=table, column=column, manner=manner, at=(direction, column))
