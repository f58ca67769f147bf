"""What can be known before a run on MariaDB, and what the rows of today say to the new shape."""

from collections.abc import Iterator, Sequence

import pymysql

from profiles.model import Limits
from tasks.engines.mysql.blockers import NO_PRIVILEGE, may_see_prepared, prepared, sees_transactions
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.planning.foreign_keys import UNLOCK
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.table_id import table_id
from tasks.engines.mysql.transient import code_of
from tasks.model.errors import PreflightError
from tasks.model.plan import Finding, Plan
from tasks.model.steps import Phase, SelfCommitting
from tasks.model.transfer_steps import Relation, Transfer

PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "TRIGGER")
_OF_A_TARGET = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "CREATE TEMPORARY TABLES")
_KNOWS_UUID = (10, 7)
SIGHT = ("SHOW VIEW", "EXECUTE", "EVENT", "TRIGGER")
"""Without them the server does not list what may name a column, or not what it says."""


def check(conn: MariaSession) -> None:
    """Refuse a server that cannot be used at all."""
    row = conn.execute("select @@read_only, @@log_bin, @@binlog_format, @@global.autocommit").fetchone()
    if int(row[0]):
        raise PreflightError("The server is read-only", where=conn.place, hint="Give the URL of the primary.")
    if int(row[1]) and str(row[2]) == "STATEMENT":
        raise PreflightError(
            "binlog_format is STATEMENT: replicas would fire the triggers of dual write themselves",
            where=conn.place,
            hint="Set binlog_format to ROW.",
        )


def require_privileges(conn: MariaSession, tables: tuple[str, ...]) -> None:
    """Refuse a user who cannot make the ledger and what a migration needs, triggers too; raises PreflightError."""
    granted = _require_grants(conn, tables)
    row = conn.execute("select @@log_bin and not @@log_bin_trust_function_creators").fetchone()
    if row[0] and not granted & {"SUPER", "BINLOG ADMIN"}:
        raise PreflightError(
            "with a binary log the server lets only a user with SUPER make triggers",
            where=", ".join(tables),
            hint="Ask the administrator for `set global log_bin_trust_function_creators = 1`, or for that privilege.",
        )


def _require_grants(conn: MariaSession, tables: tuple[str, ...]) -> set[str]:
    granted = _granted(conn)
    _refuse_missing(conn, [name for name in PRIVILEGES if name not in granted], ", ".join(tables))
    return granted


def require_sight(conn: MariaSession, table: str) -> None:
    """Refuse a user to whom the server does not show who reads a column that goes; raises PreflightError."""
    granted = _granted(conn)
    _refuse_missing(conn, [name for name in SIGHT if name not in granted], table)


def require_target(conn: MariaSession, action: Relation) -> None:
    """Refuse a server, or a user, that cannot take the rows of a copy. Raises PreflightError."""
    if not conn.dialect.maria:
        raise PreflightError(
            f"rows are copied into MariaDB, and this is {conn.dialect.name}",
            where=action.database,
            hint="Give the URL of a server of MariaDB.",
        )
    read_only, logged = conn.execute("select @@read_only, @@log_bin and @@binlog_format = 'STATEMENT'").fetchone()
    if read_only:
        raise PreflightError("The server is read-only", where=action.database, hint="Give the URL of the primary.")
    if logged:
        raise PreflightError(
            "binlog_format is STATEMENT: the server refuses to write what is read committed",
            where=action.database,
            hint="Set binlog_format to ROW or MIXED.",
        )
    if " uuid " in action.create and conn.dialect.version < _KNOWS_UUID:
        raise PreflightError(
            f"{conn.dialect.name} has no type uuid",
            where=action.database,
            hint="Write `type: varchar(36)` for the columns of uuid; or upgrade to MariaDB 10.7.",
        )
    _refuse_missing(conn, [one for one in _OF_A_TARGET if one not in _granted(conn)], action.database)


def _granted(conn: MariaSession) -> set[str]:
    user = (
        "concat(quote(substring_index(current_user(), '@', 1)), '@', quote(substring_index(current_user(), '@', -1)))"
    )
    rows = conn.execute(
        f"""
        select privilege_type from information_schema.user_privileges where grantee = {user}
        union select privilege_type from information_schema.schema_privileges
         where grantee = {user} and database() like table_schema
        """
    ).fetchall()
    return {str(row[0]) for row in rows}


def _refuse_missing(conn: MariaSession, missing: Sequence[str], where: str) -> None:
    if missing:
        raise PreflightError(
            f"the user lacks {', '.join(missing)} on {conn.database}",
            where=where,
            hint=f"Grant it: grant {', '.join(missing).lower()} on {quote(conn.database)}.* to the user of the URL.",
        )


def preflight(conn: MariaSession, plan: Plan, limits: Limits) -> tuple[Finding, ...]:
    """Return what stands in the way now; changes nothing."""
    # The ledger, which has triggers, is there by now.
    asked = require_privileges if plan.phase(Phase.DUAL_WRITE) else _require_grants
    asked(conn, plan.tables)
    for step in plan.phase(Phase.BACKFILL):
        if isinstance(step.action, Transfer) and step.action.notes:
            _require_standstill(conn, step.action)
    _require_lock_tables(conn, plan)
    return (*_findings(conn, plan), *_prepared(conn, plan, limits), *_room(conn, plan, limits))


def _require_lock_tables(conn: MariaSession, plan: Plan) -> None:
    """Refuse a user who could not wait for those who write to parents, or children: all rows have been copied then."""
    actions = (step.action for step in plan.steps if isinstance(step.action, SelfCommitting))
    if any(UNLOCK in action.forward or action.beside for action in actions):
        missing = {"LOCK TABLES"} - _granted(conn)
        _refuse_missing(conn, sorted(missing), plan.tables[0])


def _prepared(conn: MariaSession, plan: Plan, limits: Limits) -> Iterator[Finding]:
    """Name the transactions that the run may have to wait for. Refuses a user who would not see them."""
    if not any(isinstance(step.action, SelfCommitting) and step.action.outlasts_prepared for step in plan.steps):
        return
    if not may_see_prepared(conn):
        raise PreflightError(
            "the user lacks XA_RECOVER_ADMIN: without it nobody can tell whether prepared transactions hold rows",
            where=plan.tables[0],
            hint="Grant it: grant xa_recover_admin on *.* to the user of the URL.",
        )
    if found := sorted(prepared(conn)):
        yield Finding(
            rule="MYS-07",
            severity="warning",
            message=f"prepared transactions are there: {', '.join(found[:5])}; the run waits for them, for"
            f" {limits.lock_patience:g} s at most: they may have written before there were triggers, or hold rows",
            where=plan.tables[0],
            hint="Commit them, or roll them back, by these names (XA RECOVER shows them).",
        )


def _room(conn: MariaSession, plan: Plan, limits: Limits) -> Iterator[Finding]:
    """Look before the shadow is made: from then on it is a part of what is on the disk."""
    made = (s.action.done for s in plan.phase(Phase.EXPAND) if isinstance(s.action, SelfCommitting))
    first = next(made, "") if plan.strategy == "shadow_table" else ""
    needed = sum(estimate.bytes for estimate in plan.estimates)
    if first and limits.room is not None and needed > limits.room and conn.execute(first).fetchone() is None:
        yield Finding(
            rule="SHD-10",
            severity="error",
            message=f"the shadow and its indexes take about {needed / 1e6:,.0f} MB, without what the spec adds, and"
            f" limits.room of the profile is {limits.room / 1e6:,.0f} MB",
            where=plan.tables[0],
            hint="Make room on the disk of the server, and say so in limits.room.",
        )


def _require_standstill(conn: MariaSession, action: Transfer) -> None:
    """Refuse where nobody could tell that the table was emptied, or hold it still for the swap."""
    if not sees_transactions(conn):
        raise PreflightError(
            "the user lacks PROCESS: without it nobody can tell whether the table was emptied by TRUNCATE",
            where=action.table,
            hint="Grant it: grant process on *.* to the user of the URL.",
        )
    _refuse_missing(conn, [name for name in ("LOCK TABLES",) if name not in _granted(conn)], action.table)
    if conn.execute(table_id(action.alias)).fetchone()[0] is None:
        raise PreflightError(
            "the server does not tell which table of InnoDB this is, and so nobody which was emptied by TRUNCATE",
            where=action.table,
            hint="Copy it without capture, while nobody writes.",
        )
    _refuse_unseen_writes(conn)


def _refuse_unseen_writes(conn: MariaSession) -> None:
    """Refuse a replica that fires no trigger for what it receives, or not for all of it; whether it runs now or not."""
    if conn.dialect.maria:
        enforced = conn.execute("select @@global.slave_run_triggers_for_rbr").fetchone()[0] == "ENFORCE"
        if enforced or not (why := _replicates(conn)):
            return
        hint = "Set slave_run_triggers_for_rbr to ENFORCE (with YES, what had triggers where it was written fires none)"
    else:
        configured = "select 1 from performance_schema.replication_connection_configuration where host <> ''"
        if conn.execute(configured).fetchone() is None:
            return
        why, hint = (
            "the server is configured to replicate from another one",
            "RESET REPLICA ALL, if it does not any more",
        )
    raise PreflightError(
        f"{why}, and writes of that one fire no triggers here",
        where=conn.place,
        hint=f"{hint}; or give the URL of the primary.",
    )


def _replicates(conn: MariaSession) -> str:
    """Return why the server is, or may be, a replica; nothing where it is none."""
    try:
        if conn.execute("show all slaves status").fetchone() is not None:
            return "the server is configured to replicate from another one"
    except pymysql.err.MySQLError as error:
        if code_of(error) != NO_PRIVILEGE:
            raise
        # Without SLAVE MONITOR: what it has received once it may receive again.
        if conn.execute("select @@global.gtid_slave_pos <> ''").fetchone()[0]:
            return "the server has been a replica, and the user lacks SLAVE MONITOR to see whether it still is"
    return ""


def _findings(conn: MariaSession, plan: Plan) -> Iterator[Finding]:
    row = conn.execute("select @@log_bin").fetchone()
    size = sum(estimate.bytes for estimate in plan.estimates)
    if int(row[0]) and size > 1 << 30:
        yield Finding(
            rule="MYS-03",
            severity="warning",
            message=f"the binary log grows by about {size / 1e9:.1f} GB",
            hint="See that its disk has room, and that replicas keep up.",
        )
    swaps = any(isinstance(step.action, SelfCommitting) and step.action.filled for step in plan.steps)
    if swaps and not sees_transactions(conn):
        yield Finding(
            rule="MYS-06",
            severity="warning",
            message="the user lacks PROCESS, so the swap does not wait for transactions that are older than the copy:"
            " one at REPEATABLE READ that reads the table for the first time after the swap may see too few rows",
            hint="Grant it: grant process on *.* to the user of the URL. Or see that no transaction stays open.",
        )
