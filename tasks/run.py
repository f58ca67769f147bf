"""A run: the small value that tasks pass to each other, and what they open from it."""

import getpass
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiles.loader import load as load_profile
from profiles.loader import resolve_url
from profiles.model import Profile
from tasks.engines.mongodb.address import SCHEMES as MONGODB
from tasks.engines.mysql.address import SCHEMES as MYSQL
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.postgresql.transient import PASSING
from tasks.engines.protocol import Engine, Target
from tasks.engines.retrying import Passing, either
from tasks.engines.session import Session
from tasks.idle_sessions import leave_session, open_session
from tasks.ledger.anchor import anchor_head
from tasks.ledger.state import load
from tasks.model.base import Record
from tasks.model.errors import ProfileError
from tasks.model.plan import Plan
from tasks.model.steps import Step
from tasks.model.transfer_steps import Collection, DocumentTransfer, Relation, RowTransfer, Transfer

if TYPE_CHECKING:
    from tasks.engines.mongodb.rows.columns import Taker
    from tasks.engines.mysql.engine import MariaEngine
    from tasks.engines.receiving.source import Rows


POSTGRESQL = ("postgresql://", "postgres://", "postgresql+psycopg://")
_KINDS: Final = {
    "documents": (MONGODB, "MongoDB"), "postgresql": (POSTGRESQL, "PostgreSQL"), "mariadb": (MYSQL, "MariaDB"),
}  # fmt: skip
"""Beginnings of URLs, and what people call it, of what takes a copy."""


class Run(Record):
    """One execution of a migration, by value: it can go to a thread, or to another machine."""

    migration: str
    profile: str
    """Name or path."""
    database: str
    """The name in the profile."""
    run_id: str
    actor: str
    epoch: int = 0
    begun: bool = False
    """The contraction had begun when this run took over."""

    @property
    def settings(self) -> Profile:
        """The profile of the run."""
        return load_profile(self.profile)

    @property
    def engine(self) -> Engine:
        """The database of the run."""
        return engine_of(self.profile, self.database, self.migration, self.run_id)

    def target(self, database: str) -> Target:
        """The database of the profile that rows are copied into. Raises ProfileError unless it is of the right kind."""
        settings = self.settings
        url = resolve_url(settings, database).get_secret_value()
        copy = next(step.action for step in self.plan.steps if isinstance(step.action, Transfer))
        schemes, kind = _KINDS["documents" if isinstance(copy, DocumentTransfer) else copy.into.engine]
        if not url.startswith(schemes):
            raise ProfileError(
                f"rows of this source are copied into {kind} only",
                where=f"profile {settings.name}, databases.{database}",
                hint=f"Use a URL that starts with {schemes[0]}."
                + (" Within PostgreSQL, use its own logical replication." if kind == "MariaDB" else ""),
            )
        return self._of_documents(url, copy) if isinstance(copy, DocumentTransfer) else self._of_rows(url, copy)

    def _of_documents(self, url: str, copy: DocumentTransfer) -> Target:
        from tasks.engines.mongodb import errors, target  # noqa: PLC0415 - loads the driver

        given: dict[str, Any] = {
            "url": url, "limits": self.settings.limits, "name": f"changeover {self.migration}",
            "source": self.engine.connect, "follows": copy if copy.notes else None,
            "search_path": self.plan.search_path,
        }  # fmt: skip
        if copy.engine == "postgresql":
            return target.Target(**given)
        import tasks.engines.mysql.engine as maria  # noqa: PLC0415 - loads the driver
        from tasks.engines.mongodb.of_mariadb import FromMaria  # noqa: PLC0415
        from tasks.engines.mysql import transient  # noqa: PLC0415

        source = self.engine
        assert isinstance(source, maria.MariaEngine), "the plan is of MariaDB"
        return FromMaria(**given, rows=source.rows(), passing=either(transient.PASSING, errors.PASSING))

    def _of_rows(self, url: str, copy: RowTransfer) -> Target:
        source, passing = self._source_of_rows(copy)
        given: dict[str, Any] = {
            "url": url, "limits": self.settings.limits, "name": self.migration, "epoch": self.epoch,
            "source": source, "copy": copy,
        }  # fmt: skip
        if copy.into.engine == "mariadb":
            from tasks.engines.mysql import transient  # noqa: PLC0415 - loads the driver
            from tasks.engines.mysql.receiving.target import MariaTarget  # noqa: PLC0415

            return MariaTarget(**given, passing=either(passing, transient.PASSING))
        from tasks.engines.postgresql.receiving.target import RowTarget  # noqa: PLC0415

        return RowTarget(**given, passing=either(passing, PASSING))

    def _source_of_rows(self, copy: RowTransfer) -> tuple["Rows", Passing]:
        """Return what is read, and what passes by itself of its errors, those of the ledger included."""
        source = self.engine
        if isinstance(source, PostgresEngine):
            return source.rows(self.plan.search_path), PASSING
        if copy.of == "collection":
            from tasks.engines.mongodb import errors  # noqa: PLC0415 - loads the driver
            from tasks.engines.mongodb.documents.engine import MongoEngine  # noqa: PLC0415

            assert isinstance(source, MongoEngine), "a collection is one of MongoDB"
            return source.rows(), errors.PASSING
        import tasks.engines.mysql.engine as maria  # noqa: PLC0415 - loads the driver
        from tasks.engines.mysql import transient  # noqa: PLC0415

        assert isinstance(source, maria.MariaEngine), "a table is one of PostgreSQL or of MariaDB"
        return source.rows(), transient.PASSING

    def engine_of(self, step: Step) -> Engine | Target:
        """The database that a step changes."""
        return self.target(step.action.database) if isinstance(step.action, Collection | Relation) else self.engine

    @property
    def evidence(self) -> Path:
        """Where anchors, dumps and reports go."""
        return Path(self.settings.evidence)

    @property
    def plan(self) -> Plan:
        """The plan, as the ledger holds it."""
        return _plan(self)

    @contextmanager
    def ledger(self, purpose: str = "ledger") -> Iterator[Session]:
        """Open a session for the ledger, or take an idle one: nothing is set in it that the next would find."""
        conn = open_session(self.engine, self.run_id, purpose)
        try:
            yield conn
        except BaseException:
            conn.close()
            raise
        leave_session(self.run_id, purpose, conn)

    def anchor(self) -> None:
        """Anchor the head of the audit log outside the database."""
        with self.ledger("anchor") as conn:
            anchor_head(conn, self.evidence)


@lru_cache(maxsize=32)
def _plan(run: Run) -> Plan:
    # Safe to keep: while this epoch lasts, nobody may replace the plan.
    with run.ledger("plan") as conn:
        return load(conn, run.migration).plan


def engine_of(profile_name: str, database: str, migration: str, run_id: str) -> Engine:
    """Return the engine of a database of a profile, by its URL. Raises ProfileError when there is none."""
    profile = load_profile(profile_name)
    url = resolve_url(profile, database).get_secret_value()
    if url.startswith(MONGODB):
        return _of_documents(profile, database, url, migration, run_id)
    if not url.startswith((*POSTGRESQL, *MYSQL)):
        raise ProfileError(
            "no engine knows this kind of URL",
            where=f"profile {profile.name}, databases.{database}",
            hint="Use a URL that starts with postgresql://, mysql:// or mongodb://.",
        )
    engine: type[PostgresEngine | MariaEngine] = PostgresEngine
    if url.startswith(MYSQL):
        import tasks.engines.mysql.engine as maria  # noqa: PLC0415 - loads the driver

        engine = maria.MariaEngine
    return engine(
        url=url, database=profile.databases[database], limits=profile.limits, migration=migration, run_id=run_id
    )


def _of_documents(profile: Profile, database: str, url: str, migration: str, run_id: str) -> Engine:
    """Return the engine of a database of MongoDB, whose ledger lies in one of PostgreSQL."""
    from tasks.engines.mongodb.documents.engine import MongoEngine  # noqa: PLC0415 - loads the driver

    settings = profile.databases[database]
    place = f"profile {profile.name}, databases.{database}"
    if settings.ledger is None:
        raise ProfileError(
            "nothing says where the ledger of this database of MongoDB is",
            where=place,
            hint="Write `ledger` with the name of a database of PostgreSQL in the profile.",
        )
    beside = resolve_url(profile, settings.ledger).get_secret_value()
    if not beside.startswith(POSTGRESQL):
        raise ProfileError(
            "the ledger of MongoDB lies in PostgreSQL",
            where=f"{place}.ledger",
            hint="Name a database whose URL starts with postgresql://.",
        )
    ledger = PostgresEngine(
        url=beside, database=profile.databases[settings.ledger], limits=profile.limits, migration=migration,
        run_id=run_id,
    )  # fmt: skip

    def taker_of(name: str) -> "Taker":
        given = resolve_url(profile, name).get_secret_value()
        if given.startswith((*MYSQL, *POSTGRESQL)):
            return "mariadb" if given.startswith(MYSQL) else "postgresql"
        raise ProfileError(
            "documents are copied into PostgreSQL or MariaDB",
            where=f"profile {profile.name}, databases.{name}",
            hint="Use a URL that starts with postgresql:// or mysql://.",
        )

    return MongoEngine(
        url=url, database=settings, limits=profile.limits, migration=migration, run_id=run_id, ledger=ledger,
        taker_of=taker_of,
    )  # fmt: skip


def new_run_id() -> str:
    """Return a name for a run, short enough for application_name and never used before."""
    return f"{int(time.time()):x}{uuid.uuid4().hex[:4]}"


def actor() -> str:
    """Return who acts: CHANGEOVER_ACTOR, or the login name."""
    named = os.environ.get("CHANGEOVER_ACTOR", "").strip()
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def say(message: str) -> None:
    """Log for people: in the run's log of Prefect when there is one."""
    from prefect.exceptions import MissingContextError  # noqa: PLC0415 - the command line starts without Prefect
    from prefect.logging import get_run_logger  # noqa: PLC0415

    try:
        get_run_logger().info(message)
    except MissingContextError:
        logging.getLogger("changeover").info(message)
