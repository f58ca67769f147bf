"""Move a migration from state to state, along the edges that the model knows."""

from tasks.ledger import audit
from tasks.ledger._session import Connection, Statement, atomic, one_row
from tasks.ledger.fencing import fence
from tasks.ledger.state import forget_attempt, lock
from tasks.model.errors import StateError
from tasks.model.status import EDGES, MigrationState

_S = MigrationState
_BEFORE_AN_ATTEMPT = frozenset({_S.PLANNED, _S.ROLLED_BACK})


def transition(
    conn: Connection,
    migration: str,
    epoch: int,
    to: MigrationState,
    *,
    message: str = "",
    actor: str | None = None,
) -> None:
    """Bring a migration into a state, if the present one allows it.

    `message` tells people why; it replaces the one before, and is not audited. `actor` is the executor of the
    run unless said otherwise. Locks the migration's row until the end of the transaction and, as the last
    thing, the audit log. Shards in flight do not hold it up; `take_over` does wait for them.

    Starting from PLANNED or ROLLED_BACK begins an attempt: gates and rejections before it no longer count.
    ROLLED_BACK ends it: its cursors and snapshots are forgotten. Raises FencedError, or StateError for an
    edge that is not in EDGES.
    """
    with atomic(conn):
        executor = fence(conn, migration, epoch)
        present = lock(conn, migration)
        if to not in EDGES[present]:
            raise _refused(migration, present, to)
        if to is _S.ROLLED_BACK:
            forget_attempt(conn, migration)
        digest = _move(conn, migration, present, to, message)
        detail: audit.Detail = {"from": present.value, "to": to.value, "epoch": epoch}
        audit.append(conn, actor or executor, "transition", migration, to.value, digest, detail)


def _move(conn: Connection, migration: str, present: MigrationState, to: MigrationState, message: str) -> str:
    row = one_row(
        conn,
        _MOVE,
        {
            "id": migration,
            "to": to.value,
            "message": audit.storable(message),
            "swaps": to is _S.SWAPPED and present is not _S.SWAPPED,
            "undone": to is _S.ROLLED_BACK,
            "begins": to is _S.RUNNING and present in _BEFORE_AN_ATTEMPT,
        },
    )
    assert row is not None
    return str(row["plan_digest"])


_MOVE = Statement(
    postgresql="""
        update changeover.migrations
           set state = %(to)s, message = %(message)s, updated_at = clock_timestamp(),
               swapped_at = case when %(swaps)s then clock_timestamp() when %(undone)s then null
                            else swapped_at end,
               attempt_epoch = case when %(begins)s then epoch else attempt_epoch end,
               attempt_rejection = case when %(begins)s
                   then (select coalesce(max(id), 0) from changeover.rejections where migration = %(id)s)
                   else attempt_rejection end
         where id = %(id)s
        returning plan_digest
        """,
    mysql=(
        """
        update changeover.migrations
           set state = %(to)s, message = %(message)s, updated_at = sysdate(6),
               swapped_at = case when %(swaps)s then sysdate(6) when %(undone)s then null else swapped_at end,
               attempt_epoch = case when %(begins)s then epoch else attempt_epoch end,
               attempt_rejection = case when %(begins)s
                   then (select coalesce(max(id), 0) from changeover.rejections where migration = %(id)s)
                   else attempt_rejection end
         where id = %(id)s
        """,
        "select plan_digest from changeover.migrations where id = %(id)s",
    ),
)


def _refused(migration: str, present: MigrationState, to: MigrationState) -> StateError:
    allowed = ", ".join(sorted(state.value for state in EDGES[present]))
    return StateError(
        f"a migration that is {present.value} cannot become {to.value}",
        where=migration,
        hint=f"Bring it to one of: {allowed}." if allowed else "Plan a new migration: this one is finished.",
    )
