"""The steps of a migration: which are done, and what they left to know."""

from collections.abc import Mapping
from datetime import UTC
from typing import LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tasks.ledger import audit
from tasks.ledger._session import Connection, Statement, all_rows, atomic, one_row, write
from tasks.ledger.fencing import fence
from tasks.model.errors import StateError
from tasks.model.status import StepRecord, StepState

_COUNTS = ("rows", "batches", "attempts")
_COLUMNS: LiteralString = "key, state, attempts, started_at, finished_at, detail"
_QUOTED: LiteralString = "`key`, state, attempts, started_at, finished_at, detail"
_BEGIN = Statement(
    postgresql=f"""
            update changeover.steps
               set state = %(state)s, attempts = attempts + 1, started_at = clock_timestamp(),
                   finished_at = null
             where migration = %(id)s and key = %(key)s
            returning {_COLUMNS}
            """,
    mysql=(
        """
        update changeover.steps
           set state = %(state)s, attempts = attempts + 1, started_at = sysdate(6), finished_at = null
         where migration = %(id)s and `key` = %(key)s
        """,
        f"select {_QUOTED} from changeover.steps where migration = %(id)s and `key` = %(key)s",
    ),
    json=("detail",),
)
_RECORDS = Statement(
    postgresql=f"select {_COLUMNS} from changeover.steps where migration = %s order by position",
    mysql=(f"select {_QUOTED} from changeover.steps where migration = %s order by position",),
    json=("detail",),
)
_SO_FAR = "so_far"
_KEEP = Statement(
    postgresql="""
        update changeover.steps
           set detail = jsonb_set(detail, '{so_far}', coalesce(detail -> 'so_far', '{}') || (%(facts)s -> 'so_far'))
         where migration = %(id)s and key = %(key)s
        """,
    mysql=(
        """
        update changeover.steps set detail = json_merge_patch(detail, %(facts)s)
         where migration = %(id)s and `key` = %(key)s
        """,
    ),
)
_FINISH = Statement(
    postgresql="""
        update changeover.steps s
           set state = %(state)s, finished_at = clock_timestamp(),
               detail = case when %(undone)s then '{}'::jsonb else s.detail - 'so_far' end || %(facts)s
          from changeover.migrations m
         where s.migration = %(id)s and s.key = %(key)s and m.id = s.migration
        returning m.plan_digest
        """,
    mysql=(
        """
        update changeover.steps
           set state = %(state)s, finished_at = sysdate(6),
               detail = json_merge_patch(if(%(undone)s, '{}', json_remove(detail, '$.so_far')), %(facts)s)
         where migration = %(id)s and `key` = %(key)s
        """,
        """
        select m.plan_digest from changeover.steps s join changeover.migrations m on m.id = s.migration
         where s.migration = %(id)s and s.`key` = %(key)s
        """,
    ),
)


def begin_step(conn: Connection, migration: str, epoch: int, key: str) -> StepRecord:
    """Say that a step is being worked on, forward or back, and return it as it is then.

    Takes no audit lock, so that a step may begin in the very transaction that waits for its table locks.
    Raises FencedError, or StateError when the plan has no such step.
    """
    with atomic(conn):
        fence(conn, migration, epoch)
        row = one_row(conn, _BEGIN, {"id": migration, "key": key, "state": StepState.RUNNING.value})
        if row is None:
            raise _no_step(migration, key)
        return _record(row)


def keep_so_far(conn: Connection, migration: str, epoch: int, key: str, facts: Mapping[str, object]) -> None:
    """Add to what the next attempt at a step is to know when this one does not end; None forgets a fact.

    `finish_step` forgets all of it. Raises FencedError.
    """
    with atomic(conn):
        fence(conn, migration, epoch)
        write(conn, _KEEP, {"id": migration, "key": key, "facts": Jsonb({_SO_FAR: dict(facts)})})


def so_far(conn: Connection, migration: str, key: str) -> dict[str, object]:
    """Return what was kept of a step that did not end."""
    found = step_records(conn, migration)[key].detail.get(_SO_FAR)
    return {name: fact for name, fact in found.items() if fact is not None} if isinstance(found, dict) else {}


def finish_step(
    conn: Connection,
    migration: str,
    epoch: int,
    key: str,
    state: StepState,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Say that a step is DONE or UNDONE, in the transaction that did it, as its last act. Audits.

    `detail` is JSON, added to what the step's detail holds; of it only counts (rows, batches, attempts) are
    audited. UNDONE forgets the cursors of the step, which describe what is no longer there, and its detail.
    Locks the audit log. Raises FencedError, or StateError when the plan has no such step.
    """
    if state not in (StepState.DONE, StepState.UNDONE):
        raise ValueError(f"a step is finished as done or undone, not as {state.value}")
    facts = dict(detail or {})
    with atomic(conn):
        executor = fence(conn, migration, epoch)
        if state is StepState.UNDONE:
            write(conn, "delete from changeover.cursors where migration = %s and step = %s", (migration, key))
        digest = _finish(conn, migration, key, state, facts)
        counts = {name: value for name in _COUNTS if isinstance(value := facts.get(name), int)}
        audit.append(conn, executor, "step", f"{migration}: {key}", state.value, digest, {"epoch": epoch} | counts)


def step_records(conn: Connection, migration: str) -> dict[str, StepRecord]:
    """Return the steps of a migration by key, in the order of the plan."""
    rows = all_rows(conn, _RECORDS, (migration,))
    return {row["key"]: _record(row) for row in rows}


def _record(row: DictRow) -> StepRecord:
    moments = {name: row[name] and row[name].astimezone(UTC) for name in ("started_at", "finished_at")}
    return StepRecord.model_validate(row | moments)


def _finish(conn: Connection, migration: str, key: str, state: StepState, facts: dict[str, object]) -> str:
    row = one_row(
        conn,
        _FINISH,
        {
            "id": migration,
            "key": key,
            "state": state.value,
            "undone": state is StepState.UNDONE,
            "facts": Jsonb(facts),
        },
    )
    if row is None:
        raise _no_step(migration, key)
    return str(row["plan_digest"])


def _no_step(migration: str, key: str) -> StateError:
    return StateError(
        f"the plan in the ledger has no step {key!r}",
        where=migration,
        hint="Load the migration again: its plan was replaced.",
    )
