"""drift: whether somebody has changed the database beside Changeover."""

import typer

from flows.commands.outcome import reported
from flows.commands.subject import engine_for
from flows.terminal import out, print_json
from tasks import drift as verb
from tasks.ledger import state
from tasks.model.errors import StateError
from tasks.model.status import MigrationState

_AT_REST = (MigrationState.PLANNED, MigrationState.ROLLED_BACK, MigrationState.CONTRACTED)


def drift(profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Name what differs from what the last completed migration left; exit with 1 when something does."""
    with reported(as_json=as_json, verbose=verbose):
        engine = engine_for(profile, database)
        with engine.connect("drift") as conn:
            known = verb.references(conn)
            busy = [one.id for one in state.listing(conn) if one.state not in _AT_REST]
            plans = [state.load(conn, migration).plan for migration in busy]
            under_way = [name for plan in plans for name in (*plan.tables, *plan.own_types)]
        if not known:
            raise StateError(
                "no migration of this database has been completed yet: there is nothing to compare with",
                where=database,
                hint="A contract, or `changeover baseline NAME`, remembers what it leaves.",
            )
        found = verb.drift(engine, known, under_way)
        if as_json:
            print_json(found.model_dump(mode="json"))
        else:
            for schema, migration, at in found.since:
                out().print(f"{schema}: since {migration} was contracted, {at:%F %T} UTC")
            for table in found.under_way:
                out().print(f"{table} is not looked at: a migration of it is under way")
            for change in found.changes:
                out().print(change, markup=False)
            out().print(f"{len(found.changes)} changes made outside")
    if found.changes:
        raise typer.Exit(1)
