"""What a command is about: a migration by its spec or its name, with its plan and what the ledger says of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profiles.loader import load as load_profile
from profiles.model import Profile
from tasks.engines.protocol import Engine
from tasks.ledger import state
from tasks.ledger.state import MigrationSummary
from tasks.ledger.steps import step_records
from tasks.model.document import Document
from tasks.model.errors import SpecError, StateError
from tasks.model.plan import Plan
from tasks.model.source import file_of, find, is_spec, notes, parse
from tasks.model.spec import MigrationSpec
from tasks.model.status import MigrationState, StepRecord
from tasks.run import engine_of

FRESH = (MigrationState.PLANNED, MigrationState.ROLLED_BACK)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A migration, as far as it can be known without changing anything."""

    name: str
    profile: Profile
    engine: Engine
    plan: Plan
    summary: MigrationSummary | None = None
    """None: the ledger does not know it yet."""
    records: Mapping[str, StepRecord] = field(default_factory=dict)
    """Of the steps; empty before the migration has begun."""
    notes: tuple[str, ...] = ()
    """What to know about the way the spec was read."""

    @property
    def address(self) -> str:
        """Where the database is, without any secret."""
        return self.engine.address

    @property
    def begun(self) -> bool:
        """True when the plan is the one of the ledger, and not drawn up just now."""
        return self.summary is not None and self.summary.state not in FRESH


def engine_for(profile: str, database: str) -> Engine:
    """Return the engine of a command: its sessions are none of a run's, which the next run would end."""
    return engine_of(profile, database, "command line", "")


def subject_of(target: str, profile: str, database: str) -> Subject:
    """Return what a command is about: a plan drawn up now, or the one that the migration began with.

    Changes nothing, not even the ledger. Raises SpecError with the line of the spec.
    """
    settings = load_profile(profile)
    if not is_spec(target):
        return _known(target, settings, engine_for(profile, database))
    text = _read(target)
    spec = parse(text, target)
    engine = engine_for(profile, spec.database)
    engine.check()
    with engine.connect("look") as conn:
        summary = next((m for m in state.listing(conn) if m.id == spec.migration), None)
    if summary is not None and summary.state not in FRESH:
        _same_spec(spec, summary)
        return _known(spec.migration, settings, engine)
    try:
        plan = engine.plan(spec)
    except SpecError as error:
        error.where = place(error.where, text, target)
        raise
    told = notes(text, target)
    return Subject(name=spec.migration, profile=settings, engine=engine, plan=plan, summary=summary, notes=told)


def _known(name: str, profile: Profile, engine: Engine) -> Subject:
    with engine.connect("look") as conn:
        record = state.load(conn, name)
        records = step_records(conn, name)
    return Subject(name=name, profile=profile, engine=engine, plan=record.plan, summary=record, records=records)


def _same_spec(spec: MigrationSpec, summary: MigrationSummary) -> None:
    if summary.spec_digest != spec.spec_digest:
        raise StateError(
            f"the spec differs from the one that {spec.migration} was started with",
            where=spec.migration,
            hint="Roll back first, restore the spec, or give the new spec another name.",
        )


def _read(target: str) -> str:
    path = file_of(target)
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"the spec cannot be read: {type(error).__name__}", where=path, hint="Check the path and the encoding."
        ) from None


_PART = re.compile(r"\[(\d+)\]|\.?([A-Za-z_]\w*)")


def place(path: str, text: str, origin: str) -> str:
    """Give a path within a spec, `operations[0].add_column.up`, its line; leave alone what is no such path."""
    parts = [int(number) if number else word for number, word in _PART.findall(path)]
    if "".join(match.group() for match in _PART.finditer(path)) != path or parts[:1] not in [
        [key] for key in Document(text).value
    ]:
        return path
    spot = find(text, tuple(parts))
    return f"{file_of(origin)}:{spot.line}:{spot.column} ({path})"
