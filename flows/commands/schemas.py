"""compare-schemas: two databases, from the side of an application that knows the first."""

import typer

from flows.commands.outcome import reported
from flows.commands.subject import engine_for
from flows.explain import changed
from flows.terminal import out, print_json
from tasks.engines.mysql.address import SCHEMES
from tasks.engines.protocol import Listing
from tasks.model.catalogue import Catalogue
from tasks.model.errors import Refused, StateError
from validations.compatibility.changes import changes

_HINT = "changeover diff compares tables, and whole rows, across engines."


def compare_schemas(old: str, new: str, schema: str, profile: str, *, as_json: bool, verbose: bool) -> None:
    """Hold the tables of a schema of one database against those of another; exit with 1 when something breaks."""
    with reported(as_json=as_json, verbose=verbose):
        before, after = _read(old, schema, profile), _read(new, schema, profile)
        if before.engine != after.engine:
            raise Refused("schemas of two engines have no types in common", where=f"{old}, {new}", hint=_HINT)
        found = changes(before, _called_alike(after, before))
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
    if not isinstance(engine, Listing):
        raise Refused("schemas are compared on PostgreSQL and on MariaDB", where=place, hint=_HINT)
    on_mariadb = engine.url.startswith(SCHEMES)
    schema = engine.database_name if on_mariadb else schema
    names = engine.tables(schema)
    if not names:
        raise StateError(f"the schema {schema} has no table", where=place, hint="Name another with --schema.")
    return engine.inspect(names)


def _called_alike(catalogue: Catalogue, other: Catalogue) -> Catalogue:
    """On MariaDB a schema is a database, and two databases have two names for it; on PostgreSQL they are alike."""
    schema = other.tables[0].schema_name
    tables = tuple(table.model_copy(update={"schema_name": schema}) for table in catalogue.tables)
    return catalogue.model_copy(update={"tables": tables})
