"""Cases with tables of their own in one database: what a walk costs is paid once for all of them.

The names of each get a number, so that none is in the way of another; where CHANGEOVER_EVERY_LEG is set, each case is
walked by itself.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tasks.model.spec import MigrationSpec
from tests.conformance.cycle import Case
from tests.conformance.plain import plainly
from tests.legs import EVERY_LEG


def together(cases: Iterable[Case], *, names: str, most: int = 6, alone: Iterable[str] = ()) -> list[Case]:
    """Return cases of as many as that at once, but for those that stay alone, in their order.

    The names are those of tables, types, indexes and constraints that get a number; no column may have one of them.
    """
    found, waiting, apart = list[Case](), list[Case](), {*alone}
    for case in cases:
        if EVERY_LEG or case.name in apart:
            found.append(case)
            apart.discard(case.name)
            continue
        waiting.append(case)
        if len(waiting) == most:
            found.append(_one(waiting, names.split()))
            waiting = []
    assert EVERY_LEG or not apart, apart
    return [*found, _one(waiting, names.split())] if waiting else found


def _one(cases: Sequence[Case], names: Sequence[str]) -> Case:
    numbered = [_numbered(case, number, names) for number, case in enumerate(cases, 1)]
    first = numbered[0]
    # What one asks for, and what one is spared, would hold for all of them.
    for each in ("strategy", "backfill", "computed"):
        assert all(getattr(case, each) == getattr(first, each) for case in numbered), each
    assert len(numbered) == 1 or not any(case.sql or case.locks_to_plan for case in numbered), "these stay alone"
    return replace(
        first,
        name=", ".join(case.name for case in cases),
        operations=[operation for case in numbered for operation in case.operations],
        plain=list(_plain(numbered)) if any(case.plain for case in numbered) else (),
        **{each: _statements(getattr(case, each) for case in numbered) for each in _SQL},
        ends=any(case.ends for case in numbered),
    )


_SQL = ("schema", "writes", "after", "back", "also")


def _statements(parts: Iterable[str]) -> str:
    return "; ".join(part.strip().rstrip(";") for part in parts if part.strip())


def _plain(cases: Iterable[Case]) -> Iterator[str]:
    for case in cases:
        spec = {"migration": "m", "operations": list(case.operations), "strategy": case.strategy}
        yield from case.plain or plainly(MigrationSpec.model_validate(spec))


def _numbered(case: Case, number: int, names: Sequence[str]) -> Case:
    # Not within quotes: 'p' is a value. But t_pkey is made of the name of its table.
    wanted = re.compile(rf"(?<![\w'\"])({'|'.join(names)})(?=[^\w'\"]|_\w|$)")

    def with_number(value: Any) -> Any:
        if isinstance(value, str):
            return wanted.sub(rf"\g<1>{number}", value)
        if isinstance(value, dict):
            return {key: with_number(inner) for key, inner in value.items()}
        return [with_number(inner) for inner in value] if isinstance(value, list | tuple) else value

    return replace(
        case,
        operations=with_number(list(case.operations)),
        plain=with_number(case.plain),
        **{each: with_number(getattr(case, each)) for each in _SQL},
    )
