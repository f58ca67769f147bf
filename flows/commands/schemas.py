"""compare-schemas: two databases, from the side of an application that knows the first."""

import typer

from flows.commands.outcome import reported
from flows.commands.subject import engine_for
from flows.explain import changed
from flows.terminal import out, print_json
from tasks.engines.mysql.address import SCHEMES
from tasks.model.catalogue import Catalogue
from tasks.model.errors import Refused, StateError
from validations.compatibility.changes import changes


def compare_schemas(old: str, new: str, schema: str, profile: str, *, as_json: bool, verbose: bool) -> None:
    """Hold the tables of a schema of one database against those of another; exit with 1 when something breaks."""
    with reported(as_json=as_json, verbose=verbose):
        found = changes(_read(old, schema, profile), _read(new, schema, profile))
        breaking = sum(change.kind == "breaking" for change in found)
        if as_json:
            print_json({"changes": [change.model_dump(mode="json") for change in found], "breaking": breaking})
        else:
            for change in found:
                out().print(changed(change))
            out().print(f"{len(found)} differences, {breaking} of them breaking")
    if breaking:
        raise typer.Exit(1)


def _read(place: str, schema: str, profile: str) -> Catalogue:
    chosen, _, database = place.rpartition(":")
    engine = engine_for(chosen or profile, database)
    if engine.url.startswith(SCHEMES):
        raise Refused(
            "schemas are compared on PostgreSQL only", where=place, hint="changeover diff compares tables of both."
        )
    with engine.connect("compare") as conn:
        rows = conn.execute(
            "select n.nspname || '.' || c.relname from pg_catalog.pg_class c"
            " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = %s and c.relkind in ('r', 'p') order by 1",
            (schema,),
        ).fetchall()
    if not rows:
        raise StateError(f"the schema {schema} has no table", where=place, hint="Name another with --schema.")
    return engine.inspect([row[0] for row in rows])
