"""The `changeover` command: what each command is called, takes and says; what it does is in `flows.commands`.

Every command imports what it needs when it runs, so that `--help`, `plan` and `status` start fast.
"""

# ruff: noqa: PLC0415

from typing import Annotated, Literal

import typer

from flows.commands.options import (
    AsJson,
    DatabaseName,
    Name,
    Person,
    ProfileName,
    Reason,
    Target,
    Verbose,
    Yes,
)

CHANGE, DECIDE, LOOK = "Change", "Decide", "Look"

app = typer.Typer(
    name="changeover",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Change live databases while their applications keep writing.\n\n"
    "First look: **changeover plan SPEC**. Then **run** it; until **contract**, "
    "**rollback** brings everything back.",
    epilog="Exit codes: 0 done, 1 failed, 2 refused, 3 paused. A command that fails ends with what became of "
    "the data: nothing changed, rolled back, partially applied, or outcome unknown.",
)
audit = typer.Typer(no_args_is_help=True, help="Look into the record of everything that was done.")
app.add_typer(audit, name="audit", rich_help_panel=LOOK)


@app.command(rich_help_panel=LOOK)
def plan(
    target: Target,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    sql: Annotated[bool, typer.Option("--sql", help="Show every statement, forward and back.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show what `run` would do, step by step, and what applications will notice.

    Changes nothing: the change is tried on empty temporary copies and rolled back. Shows locks, rows, rough
    durations, and what rollback would do; steps that are done already are shown as SKIP.
    """
    from flows.commands import looking

    looking.plan(target, profile, database, sql=sql, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=CHANGE)
def run(
    target: Target,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    yes: Yes = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Carry out a migration, up to and with the swap; or go on with one that stopped.

    Everything can be undone afterwards. Runs as a Prefect flow in this process: against the server that
    PREFECT_API_URL names, or against one of its own. Interrupt it, kill it: run it again, and it goes on.
    """
    from flows.commands import running

    running.run(target, profile, database, yes=yes, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=LOOK)
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of a migration; all unless given.")] = None,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show where a migration stands: phase, rows, rate, time left, gates, approvals, and what to do next."""
    from flows.commands import standings

    standings.status(name, profile, database, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=DECIDE)
def approve(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    person: Person = "",
    reason: Reason = "",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Approve the present plan of a migration, so that it may constrain and swap.

    Counts for exactly this plan. Neither its author nor whoever runs it can approve.
    """
    from flows.commands import deciding

    deciding.decide(
        name, profile, database, decision="approve", person=person, reason=reason, as_json=as_json, verbose=verbose
    )


@app.command(rich_help_panel=DECIDE)
def reject(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    person: Person = "",
    reason: Reason = "",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Reject the present plan of a migration: it will not be swapped until the same person approves it."""
    from flows.commands import deciding

    deciding.decide(
        name, profile, database, decision="reject", person=person, reason=reason, as_json=as_json, verbose=verbose
    )


@app.command(rich_help_panel=DECIDE)
def waive(
    name: Name,
    check: Annotated[str, typer.Option("--check", help="Name of the check, as the gate shows it.")],
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="When it ends: ISO 8601 with a time zone.")],
    gate: Annotated[
        Literal["before_run", "before_swap", "after_swap", "before_contract"],
        typer.Option("--gate", help="The gate that has the check."),
    ] = "before_swap",
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    person: Person = "",
    reason: Reason = "",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Answer for a check of the present plan that does not hold, so that the gate may pass. Audited.

    Counts for exactly this plan, until it ends; once more with a time that has passed takes it back. Neither the
    author nor whoever runs it can. A check that could not be evaluated cannot be waived.
    """
    from flows.commands import deciding

    deciding.waive(
        name, profile, database, gate=gate, check=check, person=person, reason=reason, until=until, as_json=as_json,
        verbose=verbose,
    )  # fmt: skip


@app.command(rich_help_panel=DECIDE)
def pause(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Ask a run to stop at its next boundary: between two batches, or between two steps."""
    from flows.commands import deciding

    deciding.pause(name, profile, database, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=DECIDE)
def hold(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Put off the swap of a shadow table, or of a copy into PostgreSQL: everything else goes on until then."""
    from flows.commands import deciding

    deciding.hold(name, profile, database, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=DECIDE)
def release(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Let a swap come that was put off."""
    from flows.commands import deciding

    deciding.release(name, profile, database, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=CHANGE)
def resume(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    yes: Yes = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Take back the pause and go on from where the migration stopped."""
    from flows.commands import running

    running.resume(name, profile, database, yes=yes, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=CHANGE)
def contract(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    yes: Yes = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Drop the old shape of a complete migration. **There is no way back.**

    What it destroys is dumped to the evidence folder first, and the dump is proven to restore.
    """
    from flows.commands import running

    running.contract(name, profile, database, yes=yes, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=CHANGE)
def rollback(
    name: Name,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on even if some writes cannot be expressed in the old shape.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Undo a migration: the old shape is the truth again, with what applications wrote since.

    Possible until `contract`. Works from the ledger alone, after any crash.
    """
    from flows.commands import running

    running.rollback(name, profile, database, accept_loss=accept_loss, yes=yes, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=CHANGE)
def baseline(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Name of the version, `v1` for example.")],
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show the present shape of a schema under a version's name, before its first change.

    Makes a schema of views, one for each table; changes no table. Applications choose it by their search_path, and
    keep this shape while a migration with a `version_schema` makes the next.
    """
    from flows.commands import versions as commands

    commands.baseline(version, profile, database, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=LOOK)
def versions(
    latest: Annotated[
        str | None,
        typer.Option("--latest", metavar="SCHEMA", help="Only the newest version of SCHEMA that is ready to be used."),
    ] = None,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """List the versions that applications can choose; `--latest public` prints the one to deploy against."""
    from flows.commands import versions as commands

    commands.versions(profile, database, latest=latest, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=LOOK)
def validate(
    target: Target,
    gate: Annotated[
        Literal["before_run", "before_swap", "after_swap", "before_contract"] | None,
        typer.Option("--gate", help="Which gate to evaluate; the one that comes next unless given."),
    ] = None,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate a gate on the database as it is now. Records nothing: only a run's own gates count.

    Before a run: whether the rows can take the new shape, with counts, keys where the profile allows them, and
    statements that would mend them.
    """
    from flows.commands import checking

    checking.validate(target, profile, database, gate=gate, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=LOOK)
def diff(
    a: Annotated[str, typer.Argument(metavar="A.TABLE", help="Database of the profile, and table: `main.orders`.")],
    b: Annotated[str, typer.Argument(metavar="B.TABLE", help="The table that should hold the same rows.")],
    profile: ProfileName = "local",
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=SQL", help="What stands in A for a column of B, as SQL over A."),
    ] = None,
    ignored: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="Leave a column out, on either side.")
    ] = None,
    values_equal: Annotated[
        bool, typer.Option("--values-equal", help="Let 1.0 and 1.00, -0 and 0, '1 mon' and '30 days' be equal.")
    ] = False,
    lag: Annotated[
        float | None,
        typer.Option("--lag", min=0, help="Seconds B may be behind A; 0 within one database, otherwise 1."),
    ] = None,
    patience: Annotated[
        float, typer.Option("--patience", min=0, help="Seconds after which a row that never stands still is given up.")
    ] = 30.0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Name at most this many rows.")] = 1000,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write the rows that are named to B, then compare again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before B is changed.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Compare two tables exactly, while applications write, and name the rows and columns that differ.

    Of one database or of two. Exit code 0: equal; 1: different, or undecided; 2: refused. What cannot be read is
    never called equal. Values are shown only if the profile allows it. Nothing is written without --repair.
    """
    from flows.commands import comparing

    comparing.diff(
        a,
        b,
        profile,
        mapped=mapped or [],
        ignored=ignored or [],
        values_equal=values_equal,
        lag=lag,
        patience=patience,
        limit=limit,
        mend=repair,
        yes=yes,
        as_json=as_json,
        verbose=verbose,
    )


@app.command(rich_help_panel=LOOK)
def report(
    name: Name,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write it as one HTML file.")] = None,
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Tell what was done and what every check said, over the runs; `--html` makes a page of it.

    A run writes the same to the evidence folder: report.html, which needs nothing else, and report.json.
    """
    from flows.commands import reporting

    reporting.report(name, profile, database, html=html, as_json=as_json, verbose=verbose)


@app.command("compare-schemas", rich_help_panel=LOOK)
def compare_schemas(
    old: Annotated[str, typer.Argument(metavar="OLD", help="DATABASE, or PROFILE:DATABASE.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one that applications will meet; likewise.")],
    schema_name: Annotated[str, typer.Option("--schema", help="Which schema of both.")] = "public",
    profile: ProfileName = "local",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say what applications that know the schema of one database will meet in that of another.

    Removed and renamed tables and columns, narrowed types, lost constraints and defaults, changed nullability. Exit
    code 1 when something breaks.
    """
    from flows.commands import schemas

    schemas.compare_schemas(old, new, schema_name, profile, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=LOOK)
def drift(
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Name what others have changed since the last migration was completed. Exit code 1 when there is something."""
    from flows.commands import drift as commands

    commands.drift(profile, database, as_json=as_json, verbose=verbose)


@audit.command("verify")
def audit_verify(
    profile: ProfileName = "local",
    database: DatabaseName = "main",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Recompute the audit log from its first record, and hold it against the anchors in the evidence folder."""
    from flows.commands import checking

    checking.audit_verify(profile, database, as_json=as_json, verbose=verbose)


@app.command(rich_help_panel=LOOK)
def doctor(profile: ProfileName = "local", database: DatabaseName = "main", as_json: AsJson = False) -> None:
    """Check machine, profile, database and Prefect; say what to do about what is missing."""
    from flows.commands import diagnosis

    diagnosis.doctor(profile, database, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def demo() -> None:
    """Watch a migration and its rollback under a live application, on a PostgreSQL of its own."""
    from flows.commands import showing

    showing.demo()


@app.command(rich_help_panel=LOOK)
def schema() -> None:
    """Print the JSON Schema of a spec, for editors and other tools."""
    from flows.commands import looking

    looking.schema()


def main() -> None:
    """Run the command line."""
    app(prog_name="changeover")
