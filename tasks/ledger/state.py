"""The migrations that a database knows, their plans, and the states that they go through."""

import difflib
from hashlib import sha256
from typing import LiteralString

from tasks.ledger import audit
from tasks.ledger._session import (
    Connection,
    Instant,
    Statement,
    all_rows,
    atomic,
    database_of,
    make_lock,
    one_row,
    write,
    write_many,
)
from tasks.ledger.install import is_installed
from tasks.model.base import Record
from tasks.model.errors import AuditError, StateError
from tasks.model.plan import Plan
from tasks.model.status import MigrationState, StepState

_SHOWN = 10
_SUMMARY: LiteralString = """
    id, strategy, profile, database, state, epoch, attempt_epoch, run_id, flow_run_id, executor, author,
    plan_digest, spec_digest, message, created_at, updated_at, swapped_at
"""


_CREATE = Statement(
    postgresql="""
            insert into changeover.migrations
                   (id, strategy, profile, database, state, author, plan, plan_sha256, plan_digest,
                    spec_digest)
            values (%(id)s, %(strategy)s, %(profile)s, %(database)s, %(state)s, %(author)s, %(plan)s,
                    %(sha256)s, %(digest)s, %(spec)s)
                on conflict (id) do nothing
            """,
    mysql=(
        """
        insert into changeover.migrations
               (id, strategy, profile, `database`, state, author, plan, plan_sha256, plan_digest, spec_digest)
        values (%(id)s, %(strategy)s, %(profile)s, %(database)s, %(state)s, %(author)s, %(plan)s,
                %(sha256)s, %(digest)s, %(spec)s)
            on duplicate key update id = id
        """,
    ),
)
_REPLACE = Statement(
    postgresql="""
            update changeover.migrations
               set strategy = %(strategy)s, profile = %(profile)s, database = %(database)s,
                   author = %(author)s, plan = %(plan)s, plan_sha256 = %(sha256)s,
                   plan_digest = %(digest)s, spec_digest = %(spec)s,
                   epoch = epoch + 1, message = '', updated_at = clock_timestamp()
             where id = %(id)s
            """,
    mysql=(
        """
        update changeover.migrations
           set strategy = %(strategy)s, profile = %(profile)s, `database` = %(database)s,
               author = %(author)s, plan = %(plan)s, plan_sha256 = %(sha256)s,
               plan_digest = %(digest)s, spec_digest = %(spec)s,
               epoch = epoch + 1, message = '', updated_at = sysdate(6)
         where id = %(id)s
        """,
    ),
)
_MYSQL_SUMMARY: LiteralString = _SUMMARY.replace(" database,", " `database`,")
_ONE = Statement(
    postgresql=f"select {_SUMMARY} from changeover.migrations where id = %s",
    mysql=(f"select {_MYSQL_SUMMARY} from changeover.migrations where id = %s",),
)
_EVERY = Statement(
    postgresql=f"select {_SUMMARY} from changeover.migrations order by created_at, id",
    mysql=(f"select {_MYSQL_SUMMARY} from changeover.migrations order by created_at, id",),
)
_LOAD = Statement(
    postgresql=f"select {_SUMMARY}, plan::text as plan, plan_sha256 from changeover.migrations where id = %s",
    mysql=(f"select {_MYSQL_SUMMARY}, plan, plan_sha256 from changeover.migrations where id = %s",),
)
_LOCK = Statement(
    postgresql="select state from changeover.migrations where id = %s for no key update",
    mysql=("select state from changeover.migrations where id = %s for update",),
)
_STEPS = Statement(
    postgresql="""
            insert into changeover.steps (migration, key, position, phase, state) values (%s, %s, %s, %s, %s)
                on conflict (migration, key) do nothing
            """,
    mysql=(
        """
        insert into changeover.steps (migration, `key`, position, phase, state) values (%s, %s, %s, %s, %s)
            on duplicate key update position = position
        """,
    ),
)


def lock_of(migration: str) -> str:
    """Return the name of the lock that keeps the epoch of a migration still."""
    return f"migration:{migration}"


class MigrationSummary(Record):
    """A migration without its plan."""

    id: str
    strategy: str
    profile: str
    database: str
    """The name in the profile."""
    state: MigrationState
    epoch: int
    """Raised by every run that takes over."""
    attempt_epoch: int
    """The epoch of the run that made the present attempt start; a rollback ends an attempt."""
    run_id: str | None
    flow_run_id: str | None
    executor: str | None
    """Who started the newest run."""
    author: str
    """Who recorded the plan."""
    plan_digest: str
    spec_digest: str
    message: str
    created_at: Instant
    updated_at: Instant
    swapped_at: Instant | None


class MigrationRecord(MigrationSummary):
    """A migration with its plan."""

    plan: Plan


def create(conn: Connection, plan: Plan, profile: str, actor: str) -> None:
    """Record a new migration, as planned, with the steps of its plan. Audits.

    Raises StateError when a migration of this name exists.
    """
    document = plan.model_dump_json()
    with atomic(conn):
        make_lock(conn, lock_of(plan.migration))
        made = write(
            conn,
            _CREATE,
            _columns(plan, document) | {"profile": profile, "author": actor, "state": MigrationState.PLANNED.value},
        )
        if not made:
            raise StateError(
                f"there is a migration {plan.migration!r} already",
                where=plan.database,
                hint=f"Give the new one another name, or look with `changeover status {plan.migration}`.",
            )
        _set_steps(conn, plan)
        _audit_plan(conn, actor, "plan", plan, document)


def replace_plan(conn: Connection, plan: Plan, profile: str, actor: str) -> None:
    """Give a migration that was never started, or that was rolled back, a new plan and new steps. Audits.

    Raises the epoch, so that a run that had loaded the old plan fails at its next fence: replace first, take
    over then, load last. The state stays. Raises StateError in any other state.
    """
    migration = plan.migration
    document = plan.model_dump_json()
    allowed = (MigrationState.PLANNED, MigrationState.ROLLED_BACK)
    with atomic(conn):
        state = lock(conn, migration)
        if state not in allowed:
            raise StateError(
                f"the plan of a migration that is {state} cannot be replaced",
                where=migration,
                hint=f"Roll it back first: `changeover rollback {migration}`.",
            )
        forget_attempt(conn, migration)
        write(conn, "delete from changeover.steps where migration = %s", (migration,))
        write(conn, _REPLACE, _columns(plan, document) | {"profile": profile, "author": actor})
        _set_steps(conn, plan)
        _audit_plan(conn, actor, "replan", plan, document)


def summary(conn: Connection, migration: str) -> MigrationSummary:
    """Return a migration without its plan; raise StateError when it is unknown."""
    row = one_row(conn, _ONE, (migration,))
    if row is None:
        raise unknown(conn, migration)
    return MigrationSummary.model_validate(row)


def load(conn: Connection, migration: str) -> MigrationRecord:
    """Return a migration with its plan, checked to be what was recorded.

    Raises StateError when the ledger is missing or does not know the migration, AuditError when the text of
    the plan is not the one that was recorded.
    """
    if not is_installed(conn):
        raise StateError(
            "this database has no ledger of this version",
            where=f"database {database_of(conn)}",
            hint="Check the profile, or plan a migration here first.",
        )
    row = one_row(conn, _LOAD, (migration,))
    if row is None:
        raise unknown(conn, migration)
    document = row.pop("plan")
    if _sha256(document) != row.pop("plan_sha256"):
        raise AuditError(
            "the plan in the ledger is not the one that was recorded",
            where=migration,
            hint="Verify the audit log, and find out who edited changeover.migrations.",
        )
    return MigrationRecord.model_validate(row | {"plan": Plan.model_validate_json(document)})


def listing(conn: Connection) -> tuple[MigrationSummary, ...]:
    """Return all migrations of this database, oldest first; none when there is no ledger."""
    if not is_installed(conn):
        return ()
    rows = all_rows(conn, _EVERY)
    return tuple(MigrationSummary.model_validate(row) for row in rows)


def lock(conn: Connection, migration: str) -> MigrationState:
    """Lock the row of a migration against other changes of it, and return the state that it has then.

    Shards go on, since they do not lock this row. Raises StateError when the migration is unknown.
    """
    row = one_row(conn, _LOCK, (migration,))
    if row is None:
        raise unknown(conn, migration)
    return MigrationState(row["state"])


def forget_attempt(conn: Connection, migration: str) -> None:
    """Delete what described an attempt that was undone: cursors and snapshots."""
    write(conn, "delete from changeover.cursors where migration = %s", (migration,))
    write(conn, "delete from changeover.snapshots where migration = %s", (migration,))


def unknown(conn: Connection, migration: str) -> StateError:
    """Return the error that says which migrations there are."""
    known = [row["id"] for row in all_rows(conn, "select id from changeover.migrations order by id")]
    close = difflib.get_close_matches(migration, known, n=1)
    if close:
        hint = f"Did you mean {close[0]!r}?"
    elif known:
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        hint = f"Choose one of: {', '.join(known[:_SHOWN])}{more}."
    else:
        hint = "Plan it first: this database knows no migration yet."
    return StateError(f"the ledger knows no migration {migration!r}", where=f"database {database_of(conn)}", hint=hint)


def _set_steps(conn: Connection, plan: Plan) -> None:
    write_many(
        conn,
        _STEPS,
        [
            (plan.migration, step.key, position, step.phase.value, StepState.PENDING.value)
            for position, step in enumerate(plan.steps)
        ],
    )


def _columns(plan: Plan, document: str) -> dict[str, object]:
    return {
        "id": plan.migration,
        "strategy": plan.strategy,
        "database": plan.database,
        "plan": document,
        "sha256": _sha256(document),
        "digest": plan.digest,
        "spec": plan.spec_digest,
    }


def _audit_plan(conn: Connection, actor: str, action: str, plan: Plan, document: str) -> None:
    detail: audit.Detail = {
        "strategy": plan.strategy,
        "spec_digest": plan.spec_digest,
        "document": _sha256(document),
        "steps": len(plan.steps),
        "risk": plan.risk.value,
    }
    audit.append(conn, actor, action, plan.migration, "recorded", plan.digest, detail)


def _sha256(document: str) -> str:
    return sha256(document.encode()).hexdigest()
