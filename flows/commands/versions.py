"""versions and baseline: which shapes applications can choose, and the first of them."""

import psycopg
from rich.table import Table

from flows.commands.outcome import reported
from flows.commands.prefect_settings import prepare
from flows.commands.subject import engine_for
from flows.terminal import out, print_json
from tasks.engines.postgresql.planning.checks.obstacles import API_MARK
from tasks.ledger import versions as ledger
from tasks.model.errors import StateError


def versions(profile: str, database: str, *, latest: str | None, as_json: bool, verbose: bool) -> None:
    """List the versions; or print the name of the schema that a deployment should use."""
    with reported(as_json=as_json, verbose=verbose):
        with engine_for(profile, database).connect("versions") as conn:
            if latest is not None:
                newest = ledger.latest(conn, latest)
                if newest is None:
                    raise StateError(
                        f"no version of {latest} is ready to be deployed against",
                        where=database,
                        hint="Begin with: changeover baseline NAME",
                    )
                if as_json:
                    print_json(newest.model_dump(mode="json"))
                else:
                    out().print(newest.schema_name)
                return
            found = ledger.versions(conn)
            api = ledger.api_versions(conn, API_MARK) if isinstance(conn, psycopg.Connection) else ()
        if as_json:
            shown = [one.model_dump(mode="json") | {"ready": one.ready} for one in found]
            print_json({"versions": shown, "api": [one.model_dump(mode="json") for one in api]})
            return
        if found:
            out().print(_table(found))
        else:
            out().print("no versions yet: changeover baseline NAME makes the first")
        for one in api:
            out().print(f"API version {one.name} of {one.migration}, for {', '.join(one.roles) or 'nobody else'}")
            for function in one.functions:
                out().print(f"  with {function}")


def _table(found: tuple[ledger.Version, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("schema", "shows", "migration", "state", "since", "deploy"):
        table.add_column(title, overflow="fold")
    for one in found:
        ready = "yes" if one.ready else "not yet"
        since = f"{one.created_at:%F %T} UTC"
        table.add_row(one.schema_name, one.of_schema, one.migration, one.state.value, since, ready)
    return table


def baseline(version: str, profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Show the present shape under a name."""
    with reported(as_json=as_json, verbose=verbose):
        prepare(verbose=verbose)
        from flows.baseline import baseline as flow  # noqa: PLC0415 - Prefect reads what `prepare` has set

        report = flow(version, profile, database)
        with engine_for(profile, database).connect("versions") as conn:
            made = next(one for one in ledger.versions(conn) if one.migration == report.migration)
        if as_json:
            print_json(made.model_dump(mode="json"))
        else:
            out().print(_table((made,)))
            out().print(f"\nLet applications set search_path to {made.schema_name}, {made.of_schema}.")
