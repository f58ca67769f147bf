"""docs/benchmarks.md, made from results.json and from nothing else."""

from pathlib import Path

from benchmarks.result import RESULTS, read

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_INTRODUCTION = """\
<!-- Made by `python -m benchmarks --report` from benchmarks/results.json: measure again, do not edit. -->
# Benchmarks

`make bench` measures on the machine that it runs on, side by side and in turns, and takes medians of the rounds. It
fails when a goal is missed. What counts is the processor time of all processes of the server where that can
be had: wall time depends on what else the machine does. Checkpoints and autovacuum, which come when they want, are kept
out of it; the data live in memory where there is room, so that no disk hides what the processors do.

[pgroll](https://github.com/xataio/pgroll) is measured, too, if there is a program `pgroll` on the path, or where the
variable `PGROLL` says. It needs Go and a C compiler; nothing of it is part of this repository:

```sh
git clone --branch v0.16.2 https://github.com/xataio/pgroll /tmp/pgroll
(cd /tmp/pgroll && go build -ldflags "-X github.com/xataio/pgroll/cmd.Version=0.16.2" -o pgroll .)
PGROLL=/tmp/pgroll/pgroll make bench ARGS="--only pgroll_cpu"
```

Without it, the statements that it sends stand in for it, written out in `benchmarks/statements.py` as its source and
the log of a server show them.

Comparing is measured against [reladiff](https://github.com/erezsh/reladiff), too, if it is on the path, or where
the variable `RELADIFF` says. A table of MariaDB is compared, and made anew, where `MARIADB` is the URL of a server on
which a database may be made and dropped; beside pt-online-schema-change, of Debian's percona-toolkit, if that is on the
path. A bloated table of PostgreSQL is made anew beside pg_repack, if that is on the path and `PG_REPACK` is the URL of
a server that has its extension. Copies between databases are measured where `MONGODB` and `MARIADB` are URLs of
servers, those from MariaDB beside pgloader, if that is on the path, or where `PGLOADER` says; what counts there is the
time that it takes. What applications feel is measured while nothing else runs on the machine, or it says nothing.
"""
_WHAT = {
    "backfill_cpu": "Processor time of the backfill, checkpoints of the ledger and dual write included, "
    "against one `update` of the whole table beside the same triggers",
    "backfill_cpu_indexed": "The same with a second index, on a column in no order: each batch cleans up dead entries "
    "of the one before, which one statement leaves to VACUUM",
    "backfill_wall": "Wall time of the same, through Prefect",
    "batches_cpu": "Processor time of the backfill against batches as pgroll makes them",
    "pgroll_cpu": "Processor time of the backfill against `pgroll start`, which fills the same column",
    "shadow_cpu": "Processor time of the copy into a shadow table and of its second index, beside the triggers of dual "
    "write, against one `insert into ... select` into a table with both indexes",
    "shadow_copy_mariadb": "The same on MariaDB",
    "shadow_cpu_mariadb": "The same with what proves it before the swap: the comparison of both tables in ranges, and "
    "the gate",
    "shadow_p99": "99th percentile of the latency of an application's writes while a table of PostgreSQL is made "
    "anew, from the moment that each was due, against the same writes while nothing is done",
    "shadow_stall": "Longest of those writes",
    "shadow_failed": "How many of them failed",
    "shadow_p99_mariadb": "The same 99th percentile on MariaDB",
    "shadow_stall_mariadb": "Longest of those writes",
    "shadow_failed_mariadb": "How many of them failed",
    "shadow_p99_pt_osc": "The 99th percentile against that beside pt-online-schema-change as it is by default",
    "shadow_repack": "Time in which a table with as many dead rows as live ones is made anew, against pg_repack",
    "memory_growth": "Most memory of the migrating process: a large table against a small one",
    "memory_peak": "Most memory of the migrating process",
    "overhead": "Time of a run beyond its own statements",
    "parity_equal": "Comparing two equal tables, against the sums of hash_record_extended of both",
    "parity_differences": "The same where ten rows differ, which are named with their columns",
    "parity_reladiff": "Comparing two equal tables, against reladiff",
    "parity_mariadb": "Comparing a table of PostgreSQL with an equal one of MariaDB, against reladiff",
    "suite_of_ten": "A gate with a suite of ten expectations, against one statement that counts the same",
    "parity_memory": "Most memory of the comparing process: a large table against a small one",
    "transfer_cursor": "Speed of a copy from PostgreSQL into MongoDB, against a cursor and insert_many",
    "transfer_bson": "The same against insert_many of documents that were encoded before",
    "transfer_find": "Speed of a copy from MongoDB into PostgreSQL, against find and COPY",
    "transfer_pgloader": "Speed of a copy from MariaDB into PostgreSQL, against pgloader",
    "apply_mongodb": "Changes a second that are carried into PostgreSQL, of which MongoDB tells",
    "apply_mariadb": "The same of MariaDB, where triggers note them",
}


def page(path: Path = RESULTS) -> str:
    """Return the page."""
    found = read(path)
    lines = [_INTRODUCTION, "| measured | result | goal | met |", "| --- | --- | --- | --- |"]
    for row in found["results"]:
        sign = "at most" if row["better"] == "lower" else "at least"
        lines.append(
            f"| {_WHAT[row['name']]} | {row['measured']:g} {row['unit']} | {sign} {row['goal']:g} {row['unit']} | "
            f"{'yes' if row['met'] else '**no**'} |"
        )
    lines += ["", "The figures behind them:", ""]
    lines += [f"- `{row['name']}` ({row['measured_on']}): {row['detail']}." for row in found["results"]]
    lines += ["", "The machine:", ""]
    lines += [f"- {name}: {value}" for name, value in found["machine"].items()]
    return "\n".join(lines) + "\n"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
