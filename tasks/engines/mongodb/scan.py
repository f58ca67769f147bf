"""Look at every value that a policy may touch, before anything is done, with the very code that will copy it."""

import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain

from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.follow import by_size
from tasks.engines.mongodb.sides import side_of
from tasks.engines.mongodb.values import FALLIBLE
from tasks.engines.records import Key
from tasks.engines.session import Session
from tasks.model.names import quote
from tasks.model.plan import Plan
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import DocumentTransfer, TransferField

GATE = "before_run"
ROWS = 2000
"""Rows of a range. Of these no more are held than a batch may have."""
_DONE = {
    "fail": "nothing says what becomes of them: give `unfit`, or another expression",
    "reject": "their rows are left out",
    "string": "they become text",
    "tag": "they become documents with type and text",
}


def examine(conn: Session, plan: Plan, *, values_in_reports: bool) -> GateResult:
    """Return a result for each field whose values may not fit, and for an `_id` of the author's own.

    Reads the whole table once, in ranges of its key, where a field may be unfit. Keys of rows are in the result only
    with `values_in_reports`. Locks: none that writers wait for.
    """
    action = transfer_of(plan)
    side, checks = side_of(conn), list[CheckResult]()
    started = time.monotonic()
    try:
        side.prepare(conn, plan.search_path)
        checks += _identity(conn, action)
        checks += _of_none(conn, action)
        doubtful = tuple(field for field in action.fields if _is_doubtful(field))
        if doubtful:
            checks += _values(conn, action, doubtful, values_in_reports)
    except Exception as error:
        if not (code := side.unread(error)):
            raise
        why = f"an expression fails on a row that exists: {code}"
        return GateResult(
            gate=GATE,
            checks=(*checks, CheckResult(name="every row can be read", passed=False, evaluated=True, message=why)),
        )
    read = CheckResult(
        name="every row can be read", passed=True, evaluated=True, message="", seconds=time.monotonic() - started
    )
    return GateResult(gate=GATE, checks=(*checks, read) if checks else ())


def _is_doubtful(field: TransferField) -> bool:
    return field.holds in FALLIBLE if field.doubtful is None else field.doubtful


def transfer_of(plan: Plan) -> DocumentTransfer:
    """Return the copy of a plan."""
    return next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer))


def pieces(conn: Session, action: DocumentTransfer) -> Generator[list[Made]]:
    """Yield the documents of all rows up to the present last, as many together as are held, however large they are.

    Each range is read as it is asked for, within a transaction of its own, or one that there is. To be closed.
    """
    side = side_of(conn)
    high = side.last_key(conn, action)
    position: Key | None = None
    while high is not None and position != high:
        end = side.end_of_batch(conn, action, position, high, ROWS) or high
        with side.between(conn, action, position, end) as rows:
            yield from by_size(documents(action, rows))
        position = end


def _values(
    conn: Session, action: DocumentTransfer, doubtful: tuple[TransferField, ...], values_in_reports: bool
) -> Iterator[CheckResult]:
    started = time.monotonic()
    # How large a document is with rows of other tables in it, all of its fields decide together.
    narrow = action if action.embedded else action.model_copy(update={"fields": doubtful})
    found: dict[str, Counter[str]] = {".".join(field.path): Counter() for field in doubtful}
    keys: dict[str, list[str]] = {name: [] for name in found}
    policies: dict[str, str] = {".".join(field.path): field.unfit for field in doubtful}
    read = 0
    with closing(pieces(conn, narrow)) as some:
        for made in chain.from_iterable(some):
            read += 1
            for one in made.touched:
                counts = found.setdefault(one.field, Counter())
                counts[one.reason] += 1
                policies[one.field] = one.policy
                if values_in_reports and len(examples := keys.setdefault(one.field, [])) < 10:
                    examples.append(", ".join(made.key)[:100])
    for name, counts in found.items():
        policy = policies[name]
        total = counts.total()
        reasons = ", ".join(f"{count:,} × {why}" for why, count in counts.most_common())
        yield CheckResult(
            name=f"values of {name} fit",
            passed=total == 0,
            evaluated=True,
            unexpected=total,
            message=f"{reasons}; {_DONE[policy]}" if total else f"all of {read:,} rows",
            examples=tuple(keys.get(name, ())),
            seconds=(time.monotonic() - started) / len(found),
            severity="error" if policy == "fail" else "warning",
        )


def _identity(conn: Session, action: DocumentTransfer) -> Iterator[CheckResult]:
    if not action.given_id:
        return
    started = time.monotonic()
    nulls, duplicates = side_of(conn).unidentified(conn, action)
    yield CheckResult(
        name="_id is unique and never null",
        passed=not nulls and not duplicates,
        evaluated=True,
        unexpected=nulls + duplicates,
        message=f"{nulls:,} rows without one, {duplicates:,} rows with that of another",
        seconds=time.monotonic() - started,
    )


def _of_none(conn: Session, action: DocumentTransfer) -> Iterator[CheckResult]:
    """Count rows that would be embedded, and refer to nothing."""
    for field in action.embedded:
        if field.rows is None or not field.rows.loose:
            continue
        started = time.monotonic()
        kept = f" and ({field.rows.where}\n)" if field.rows.where else ""
        loose = f"pg_catalog.num_nulls({', '.join(map(quote, field.rows.loose))}) > 0"
        row = conn.execute(  # of PostgreSQL: no other embeds
            f"select count(*) from {field.rows.table} as {quote(field.rows.alias)} where {loose}{kept}"
        ).fetchone()
        left = int(row[0]) if row else 0
        yield CheckResult(
            name=f"rows of {field.rows.full_name} are of a row",
            passed=not left,
            evaluated=True,
            unexpected=left,
            message=f"{left:,} refer to none: they are in no document" if left else "all of them",
            seconds=time.monotonic() - started,
            severity="warning",
        )
