"""What the gates found, and what the dual-write triggers could not write."""

from psycopg.types.json import Json

from tasks.ledger import audit
from tasks.ledger._session import Connection, Instant, Statement, all_rows, atomic, one_row
from tasks.ledger.fencing import fence
from tasks.model.base import Record
from tasks.model.status import GateResult

_RECORD = Statement(
    postgresql="""
            insert into changeover.gates (migration, gate, plan_digest, passed, result, rejections, epoch)
            select m.id, %(gate)s, m.plan_digest, %(passed)s, %(result)s, %(rejections)s, m.epoch
              from changeover.migrations m where m.id = %(id)s
            returning plan_digest
            """,
    mysql=(
        """
        insert into changeover.gates (migration, gate, plan_digest, passed, result, rejections, epoch)
        select m.id, %(gate)s, m.plan_digest, %(passed)s, %(result)s, %(rejections)s, m.epoch
          from changeover.migrations m where m.id = %(id)s
        """,
        "select plan_digest from changeover.migrations where id = %(id)s",
    ),
)
_LAST = Statement(
    postgresql="""
        select g.gate, g.plan_digest, g.passed, g.result, g.rejections, g.epoch, g.at
          from changeover.gates g join changeover.migrations m on m.id = g.migration
         where g.migration = %s and g.gate = %s
           and g.plan_digest = m.plan_digest and g.epoch >= m.attempt_epoch
         order by g.id desc limit 1
        """,
    mysql=(
        """
        select g.gate, g.plan_digest, g.passed, g.result, g.rejections, g.epoch, g.at
          from changeover.gates g join changeover.migrations m on m.id = g.migration
         where g.migration = %s and g.gate = %s
           and g.plan_digest = m.plan_digest and g.epoch >= m.attempt_epoch
         order by g.id desc limit 1
        """,
    ),
    json=("result",),
)
_HISTORY = Statement.same(
    """
    select gate, plan_digest, passed, result, rejections, epoch, at from changeover.gates
     where migration = %s order by id desc limit 500
    """,
    "result",
)
_COUNT = Statement(
    postgresql="""
        select count(*) as rejections
          from changeover.rejections r join changeover.migrations m on m.id = r.migration
         where r.migration = %(id)s and r.id > m.attempt_rejection
           and (%(direction)s::text is null or r.direction = %(direction)s::text)
           and (%(table)s::text is null or r.table_name = %(table)s::text)
        """,
    mysql=(
        """
        select count(*) as rejections
          from changeover.rejections r join changeover.migrations m on m.id = r.migration
         where r.migration = %(id)s and r.id > m.attempt_rejection
           and (%(direction)s is null or r.direction = %(direction)s)
           and (%(table)s is null or r.table_name = %(table)s)
        """,
    ),
)


class GateRecord(Record):
    """A gate as it was evaluated once."""

    gate: str
    plan_digest: str
    passed: bool
    result: GateResult
    rejections: int
    """How many rejections there were when it was evaluated."""
    epoch: int
    at: Instant


def record_gate(conn: Connection, migration: str, epoch: int, result: GateResult, rejections: int) -> None:
    """Record the result of a gate. Audits the names of the checks that failed, never what they found.

    `rejections` is what `count_rejections` said before the checks began. Raises FencedError.
    """
    with atomic(conn):
        executor = fence(conn, migration, epoch)
        row = one_row(
            conn,
            _RECORD,
            {
                "id": migration,
                "gate": result.gate,
                "passed": result.passed,
                "result": Json(result.model_dump(mode="json")),
                "rejections": rejections,
            },
        )
        assert row is not None
        failed = [check.name for check in result.failed]
        waived = [check.name for check in result.checks if check.verdict == "WAIVED"]
        detail: dict[str, str | int | bool] = {
            "epoch": epoch,
            "checks": len(result.checks),
            "failed": ", ".join(failed),
            "rejections": rejections,
        }
        if waived:
            detail["waived"] = ", ".join(waived)
        outcome = "passed" if result.passed else "failed"
        subject = f"{migration}: {result.gate}"
        audit.append(conn, executor, "gate", subject, outcome, str(row["plan_digest"]), detail)


def last_gate(conn: Connection, migration: str, gate: str) -> GateRecord | None:
    """Return the newest result of a gate in the present attempt on the present plan, or None.

    A gate that passed before a rollback, or for another plan, never counts.
    """
    row = one_row(conn, _LAST, (migration, gate))
    return None if row is None else GateRecord.model_validate(row)


def gate_history(conn: Connection, migration: str) -> tuple[GateRecord, ...]:
    """Return the newest results of all gates of a migration, whatever the plan and the attempt, oldest first."""
    return tuple(GateRecord.model_validate(row) for row in reversed(all_rows(conn, _HISTORY, (migration,))))


def count_rejections(
    conn: Connection, migration: str, *, direction: str | None = None, table: str | None = None
) -> int:
    """Count the values that the dual-write triggers could not write in the present attempt."""
    row = one_row(
        conn,
        _COUNT,
        {"id": migration, "direction": direction, "table": table},
    )
    return 0 if row is None else int(row["rejections"])
