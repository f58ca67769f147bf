"""open_migration: what every strategy begins and ends with.

Plan, ledger, lock, fence, audit on the way in; on the way out, whatever happened is recorded, and what the
profile wants undone is undone. A flow of one's own inherits all of it by one `with`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.approve import AwaitingApproval, approved
from tasks.engines.protocol import Leased
from tasks.engines.translate import in_our_words
from tasks.idle_sessions import kept_idle
from tasks.ledger import install, state
from tasks.ledger.fencing import take_over
from tasks.ledger.transitions import transition
from tasks.model.errors import ChangeoverError, ConcurrentRunError, DataChanged, Paused, Refused, SpecError, StateError
from tasks.model.plan import Plan
from tasks.model.source import file_of, is_spec, notes, parse
from tasks.model.spec import MigrationSpec
from tasks.model.status import UNDER_WAY, MigrationState
from tasks.report import plan_artifact, report, write_report
from tasks.rollback import rollback
from tasks.run import Run, actor, new_run_id, say
from tasks.swap import cut_off, swap

_S = MigrationState
FRESH = (_S.PLANNED, _S.ROLLED_BACK)
"""Found when a run begins, they tell of one that was killed."""
FORWARD = (_S.RUNNING, _S.PAUSED, _S.AWAITING_APPROVAL, _S.FAILED)


def read_spec(path: str) -> MigrationSpec:
    """Read a spec from a file, after `pgroll:` from one of pgroll. Raises SpecError with file, line and reason."""
    file = file_of(path)
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"the spec cannot be read: {type(error).__name__}", where=file, hint="Check the path and the encoding."
        ) from None
    spec = parse(text, path)
    for note in notes(text, path):
        say(note)
    return spec


@contextmanager
def open_migration(migration: str | MigrationSpec, profile: str = "local", *, database: str = "main") -> Iterator[Run]:
    """Begin a migration, or go on with it, and yield the run that the tasks take.

    `migration` is the path of a spec, or of a file of pgroll after `pgroll:`, a spec, or the name of a migration
    that the ledger knows. One run at a
    time holds a table. On a failure before the swap the profile decides: roll back, or keep what was built.
    """
    spec = _spec(migration)
    name = spec.migration if spec is not None else str(migration)
    run = Run(
        migration=name,
        profile=profile,
        database=spec.database if spec is not None else database,
        run_id=new_run_id(),
        actor=actor(),
    )
    with _held(run, spec) as held, _outcome(held), in_our_words(name):
        if cut_off(held):
            # Before any gate, which would compare the wrong tables.
            swap(held)
        yield held


@contextmanager
def reopen_migration(
    migration: str, profile: str = "local", *, database: str = "main", allowed: Sequence[MigrationState]
) -> Iterator[Run]:
    """Take over a migration from the ledger, as it stands, and yield the run that the tasks take.

    Raises StateError unless its state is one of `allowed`. Nothing is undone when something fails: contract
    and rollback are finished by running them again.
    """
    run = Run(migration=migration, profile=profile, database=database, run_id=new_run_id(), actor=actor())
    run.engine.check()
    with run.ledger() as conn:
        record = state.load(conn, migration)
    with run.engine.keep((*record.plan.tables, f"migration {migration}")), kept_idle(run.run_id), run.ledger() as conn:
        epoch = take_over(conn, migration, run.run_id, executor=run.actor, flow_run_id=_flow_run_id())
        now = state.summary(conn, migration).state
        if now not in allowed:
            raise StateError(
                f"the migration is {now}",
                where=migration,
                hint="This needs one of: " + ", ".join(allowed) + ".",
            )
        _refuse_other_database(run, record.plan)
        held = run.model_copy(update={"epoch": epoch, "begun": now is _S.CONTRACTING})
        _outlast(run, now)
        try:
            yield held
        finally:
            held.anchor()


def _spec(migration: str | MigrationSpec) -> MigrationSpec | None:
    if isinstance(migration, MigrationSpec):
        return migration
    return read_spec(migration) if is_spec(migration) else None


@contextmanager
def _held(run: Run, spec: MigrationSpec | None) -> Iterator[Run]:
    """Plan if there is nothing in the ledger, hold the tables, take over, and say that it runs."""
    run.engine.check()
    drafted = _first_plan(run, spec) if spec is not None else None
    with run.ledger("install") as conn:
        install.install(conn, actor=run.actor)
    if spec is not None:
        record_plan(run, spec, drafted)
    with run.ledger() as conn:
        tables = state.load(conn, run.migration).plan.tables
    with run.engine.keep((*tables, f"migration {run.migration}")), kept_idle(run.run_id), run.ledger() as conn:
        epoch = take_over(conn, run.migration, run.run_id, executor=run.actor, flow_run_id=_flow_run_id())
        # Only now can nobody replace the plan any more.
        record = state.load(conn, run.migration)
        if record.plan.tables != tables:
            raise ConcurrentRunError(
                "the plan was replaced while this run began", where=run.migration, hint="Run again."
            )
        _refuse_other_database(run, record.plan)
        if record.state in FRESH:
            run.engine.refuse_drift(conn, record.plan)
        held = run.model_copy(update={"epoch": epoch})
        now = record.state
        _outlast(run, now)
        if now in (*FRESH, *FORWARD):
            with conn.transaction():
                transition(conn, run.migration, epoch, _S.RUNNING)
        elif now not in (_S.SWAPPED, _S.COMPLETE):
            raise StateError(
                f"the migration is {now}", where=run.migration, hint=f"changeover rollback {run.migration}"
                if now is _S.ROLLING_BACK else f"changeover contract {run.migration}",
            )  # fmt: skip
        plan_artifact(held, held.plan)
        yield held


def _refuse_other_database(run: Run, plan: Plan) -> None:
    """Refuse to carry out a plan on another database than its own: a ledger may be that of several."""
    if plan.database != run.database:
        raise StateError(
            f"the migration is one of the database {plan.database}",
            where=run.migration,
            hint=f"Add --database {plan.database}.",
        )


def _outlast(run: Run, found: MigrationState) -> None:
    """Wait where a run that has not ended by itself may still have something under way that nothing fences."""
    engine = run.engine
    if found in UNDER_WAY and isinstance(engine, Leased):
        engine.outlast(say)


def _first_plan(run: Run, spec: MigrationSpec) -> Plan | None:
    """Plan before there is a ledger: what is refused leaves nothing behind, not even that."""
    with run.ledger("plan") as conn:
        if install.is_installed(conn):
            return None
        plan = run.engine.plan(spec)
        run.engine.require_privileges(conn, plan)
        return plan


def record_plan(run: Run, spec: MigrationSpec, drafted: Plan | None = None) -> None:
    """Put the plan into the ledger; a migration that has begun keeps the plan that it began with."""
    with run.ledger("plan") as conn:
        known = {m.id: m for m in state.listing(conn)}.get(spec.migration)
        if known is not None and known.state not in FRESH:
            if known.spec_digest != spec.spec_digest:
                raise StateError(
                    f"the spec differs from the one that {spec.migration} was started with",
                    where=spec.migration,
                    hint="Roll back first, restore the spec, or give the new spec another name.",
                )
            return
        plan = drafted or run.engine.plan(spec)
        with conn.transaction():
            if known is None:
                state.create(conn, plan, run.profile, run.actor)
            else:
                state.replace_plan(conn, plan, run.profile, run.actor)


@contextmanager
def _outcome(run: Run) -> Iterator[None]:
    """Record how it ended. The ledger has to be right even when the flow is not."""
    try:
        yield
    except Paused as error:
        if isinstance(error, AwaitingApproval):
            _anchor(run)
        else:
            _note(run, _S.PAUSED, error.what)
        error.report = report(run)
        raise
    except KeyboardInterrupt:
        _note(run, _S.PAUSED, "interrupted")
        raise
    except BaseException as error:
        _failed(run, error)
        write_report(run)
        raise
    else:
        with run.ledger() as conn:
            now = state.summary(conn, run.migration).state
            if now is _S.SWAPPED:
                # A flow without a soak of its own.
                transition(conn, run.migration, run.epoch, _S.COMPLETE)
        if now is _S.RUNNING:
            _note(run, _S.PAUSED, "the flow ended before the swap")
        run.anchor()


def _failed(run: Run, error: BaseException) -> None:
    with run.ledger() as conn:
        now = state.summary(conn, run.migration).state
    retryable = isinstance(error, ChangeoverError) and error.retryable
    if isinstance(error, ChangeoverError) and error.code == "FENCED":
        return
    wanted = run.settings.on_failure == "rollback" and not retryable and now in (_S.RUNNING, _S.SWAPPED)
    if not wanted or _relied_upon(run) or not _undone(run, error):
        _note(run, _S.FAILED, str(error) if isinstance(error, ChangeoverError) else type(error).__name__)
        return
    if isinstance(error, ChangeoverError):
        error.changed = DataChanged.NO if isinstance(error, Refused) else DataChanged.ROLLED_BACK


def _relied_upon(run: Run) -> bool:
    """Tell whether a new application may use the new shape already: nobody takes that away unasked."""
    try:
        return approved(run)
    except StateError:
        # Somebody rejected the plan.
        return False


def _undone(run: Run, error: BaseException) -> bool:
    say(f"rolls back: {type(error).__name__}")
    try:
        rollback(run)
    except Refused as refusal:
        say(f"is not rolled back: {refusal.what}")
        return False
    _anchor(run)
    return True


def _note(run: Run, to: MigrationState, message: str) -> None:
    """Move to a state if that is possible; after the swap, stopping changes nothing."""
    with run.ledger() as conn:
        now = state.summary(conn, run.migration).state
        if now in (_S.RUNNING, _S.AWAITING_APPROVAL):
            with conn.transaction():
                transition(conn, run.migration, run.epoch, to, message=message)
    _anchor(run)


def _anchor(run: Run) -> None:
    """Anchor the audit log on the way out; a folder that cannot be written must not hide why the run ended."""
    try:
        run.anchor()
    except ChangeoverError as error:
        say(f"the audit log is not anchored: {error.what}")


def _flow_run_id() -> str | None:
    from prefect.runtime import flow_run  # noqa: PLC0415 - only within a flow is there anything to read

    return flow_run.get_id()
