"""The shape of a profile: where a migration runs, and under which limits."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.model.base import Record

Milliseconds = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


class Database(Record):
    """Where to find the URL of a database. The URL itself, with its password, is never in a file."""

    url_env: str | None = None
    """Name of an environment variable that holds the URL."""
    url_secret: str | None = None
    """Name of a Prefect Secret block that holds the URL."""
    search_path: str = "public"
    """Where unqualified names of a spec are looked up."""
    replicas: tuple[str, ...] = ()
    """application_name of the standbys whose lag throttles; empty: every standby that streams."""


class Limits(Record):
    """What the applications may feel."""

    lock_budget: Milliseconds = 300
    """The longest that we wait for a table lock, and so the longest that others wait behind us."""
    lock_patience: Seconds = 600.0
    """How long to go on trying for a lock before giving up."""
    batch_target: Milliseconds = 100
    """How long one batch of the backfill should take."""
    batch_rows: Annotated[int, Field(gt=0)] = 100_000
    """The most rows one batch may have."""
    attempts: Annotated[int, Field(gt=0)] = 6
    """Tries of a transaction that fails for a passing reason."""
    snapshot_age: Seconds = 300.0
    """How long an index build waits for older snapshots before it says who holds them and gives up."""


class Throttle(Record):
    """When the backfill holds back. An unknown reading means: hold back."""

    replica_lag_bytes: int | None = None
    """The most WAL that a standby may be behind; None: not watched."""
    probe_latency: Milliseconds | None = None
    """The most that the probe statement may take; None: not watched."""
    pause_ratio: Annotated[float, Field(ge=0)] = 0.0
    """Rest after each batch, as a multiple of the batch's own duration."""
    patience: Seconds = 3600.0
    """How long to hold back before the run stops as paused."""


class Window(Record):
    """The hours in which a run may change anything; it stops at a batch boundary when they end."""

    start: str
    """`HH:MM`, wall time in `timezone`."""
    end: str
    """`HH:MM`; before `start` means the next day."""
    timezone: str
    """An IANA zone, for example `Europe/Madrid`."""
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = (
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
    )
    """Days on which a window may start."""


class Runner(Record):
    """Where the shards of a backfill run."""

    kind: Literal["thread", "dask"] = "thread"
    shards: Annotated[int, Field(gt=0, le=64)] = 1
    dask_address: str | None = None
    """Scheduler of an existing Dask cluster; None with `dask`: a local one for the run."""


class Profile(Record):
    """One environment."""

    name: str
    databases: dict[str, Database]
    limits: Limits = Limits()
    throttle: Throttle = Throttle()
    window: Window | None = None
    runner: Runner = Runner()
    approvals: Annotated[int, Field(ge=0)] = 0
    """How many people must approve before the switch."""
    approval_wait: Seconds = 0.0
    """How long a run waits for them before it stops as paused."""
    soak: Seconds = 0.0
    """How long to watch after the switch."""
    on_failure: Literal["rollback", "keep"] = "rollback"
    """What to do when a step or a gate fails for good before the swap."""
    evidence: str = "evidence"
    """Folder of audit anchors, dumps and reports, relative to the working directory."""
    values_in_reports: bool = False
    """Whether keys of failing rows may appear in reports."""
    confirm: bool = False
    """Ask for the name of the database before anything is changed."""
