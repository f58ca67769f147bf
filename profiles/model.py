"""The shape of a profile: where a migration runs, and under which limits."""

from difflib import get_close_matches
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from tasks.model.base import Record

Milliseconds = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# The patterns keep a URL that was put in the wrong place out of every message that names the variable.
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
BlockName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
WallTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


def _zone(value: str) -> str:
    # `localtime` differs from machine to machine, and the zones of `right/` count leap seconds.
    machine_made = value.split("/")[0] in {"localtime", "posix", "posixrules", "right", "Factory"}
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        machine_made = True
    if machine_made:
        near = get_close_matches(value, available_timezones(), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Name a zone such as 'Europe/Madrid'."
        raise PydanticCustomError("zone", "it is not an IANA time zone", {"hint": hint})
    return value


Zone = Annotated[str, AfterValidator(_zone)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Database(Record):
    """Where to find the URL of a database. The URL itself, with its password, is never in a file."""

    url_env: VariableName | None = None
    """Name of an environment variable that holds the URL."""
    url_secret: BlockName | None = None
    """Name of a Prefect Secret block that holds the URL; read when the variable is not set."""
    search_path: str = "public"
    """Where unqualified names of a spec are looked up."""
    ledger: str | None = None
    """For MongoDB: which database of the profile, of PostgreSQL, holds the ledger. One collection, one ledger."""
    replicas: tuple[str, ...] = ()
    """application_name of the standbys whose lag throttles; empty: every standby that streams."""


class Limits(Record):
    """What the applications may feel."""

    lock_budget: Milliseconds = 300
    """The longest that we wait for a table lock, and so the longest that others wait behind us."""
    lock_patience: Seconds = 600.0
    """How long to go on trying for a lock before giving up."""
    ddl_queues: bool = False
    """MariaDB: wait for locks in the last quarter of `lock_patience`, for whole seconds, at the cost of a deadlock
    (1213) for an application that has read the table and goes on to write it."""
    batch_target: Milliseconds = 100
    """How long one batch of the backfill should take; one of a copy into another database, which keeps nobody waiting,
    takes five times as long."""
    batch_rows: Annotated[int, Field(gt=0)] = 100_000
    """The most rows one batch may have."""
    differences: Literal["repair", "refuse"] = "repair"
    """What becomes of rows that a shadow table has otherwise than the table, before the swap: they are carried over
    once more, or the run ends."""
    attempts: Annotated[int, Field(gt=0)] = 6
    """Tries of a transaction that fails for a passing reason."""
    snapshot_age: Seconds = 300.0
    """How long an index build, or a swap by shadow table, waits for older snapshots before it says who holds them and
    gives up."""
    room: Annotated[int, Field(gt=0)] | None = None
    """The most bytes that a shadow table may take, with its indexes; None: not looked at. A server
    does not tell how much is free on its disks: whoever knows writes it here."""


class Throttle(Record):
    """When the backfill, and the comparison of a shadow table in ranges, holds back. An unknown reading: hold back."""

    replica_lag_bytes: Annotated[int, Field(ge=0)] | None = None
    """The most WAL that a standby may be behind; None: not watched."""
    probe_latency: Milliseconds | None = None
    """The most that the probe statement may take; None: not watched."""
    pause_ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Rest after each batch, or range, as a multiple of its own duration."""
    patience: Seconds = 3600.0
    """How long to hold back before the run stops as paused."""


class Probes(Record):
    """When a probe of a spec counts as worse than before, and how it is measured."""

    cost: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    """The most that the planner's cost may grow, as a multiple; a backfill alone can double the pages of a table."""
    latency: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    """The most that the time may grow, as a multiple."""
    tolerance: Milliseconds = 5
    """Milliseconds by which a probe may always become slower."""
    timeout: Milliseconds = 5_000
    """The longest that a probe may take."""
    runs: Annotated[int, Field(gt=0, le=100)] = 5
    """How often it is run; the fastest counts."""


class Window(Record):
    """The hours in which a run may change anything; it stops at a batch boundary when they end."""

    start: WallTime
    """`HH:MM`, wall time in `timezone`."""
    end: WallTime
    """`HH:MM`; before `start` means the next day."""
    timezone: Zone
    """An IANA zone, for example `Europe/Madrid`."""
    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    """Days on which a window may start."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.start == self.end:
            hint = "Leave the window out to allow every hour, or give a different end."
            raise PydanticCustomError("empty", "the window starts and ends at the same time", {"hint": hint})
        return self


class Runner(Record):
    """Where the shards of a backfill run."""

    kind: Literal["thread", "dask"] = "thread"
    shards: Annotated[int, Field(gt=0, le=64)] = 1
    dask_address: str | None = None
    """Scheduler of an existing Dask cluster; None with `dask`: a local one for the run."""

    @model_validator(mode="after")
    def _address_needs_dask(self) -> Self:
        if self.dask_address is not None and self.kind != "dask":
            hint = 'Write kind = "dask", or remove dask_address.'
            raise PydanticCustomError("unused", "dask_address has no effect on threads", {"hint": hint})
        return self


class Profile(Record):
    """One environment."""

    name: Annotated[str, Field(min_length=1)]
    databases: Annotated[dict[str, Database], Field(min_length=1)]
    limits: Limits = Limits()
    throttle: Throttle = Throttle()
    probes: Probes = Probes()
    window: Window | None = None
    runner: Runner = Runner()
    approvals: Annotated[int, Field(ge=0)] = 0
    """How many people must approve before the switch."""
    approval_wait: Seconds = 0.0
    """How long a run waits for them before it stops as paused."""
    soak: Seconds = 0.0
    """How long to watch after the switch."""
    on_failure: Literal["rollback", "keep"] = "rollback"
    """What to do when a step or a gate fails for good, before the contract."""
    evidence: str = "evidence"
    """Folder of audit anchors, dumps and reports, relative to the working directory."""
    values_in_reports: bool = False
    """Whether keys of failing rows may appear in reports of gates, and values of differing rows in those of `diff`."""
    confirm: bool = False
    """Ask for the name of the database before anything is changed."""
