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
"""
_WHAT = {
    "backfill_cpu": "Processor time of the backfill, checkpoints of the ledger and dual write included, "
    "against one `update` of the whole table beside the same triggers",
    "backfill_cpu_indexed": "The same with a second index, on a column in no order: each batch cleans up dead entries "
    "of the one before, which one statement leaves in the index (a goal of our own)",
    "backfill_wall": "Wall time of the same, through Prefect",
    "batches_cpu": "Processor time of the backfill against batches as pgroll makes them",
    "pgroll_cpu": "Processor time of the backfill against `pgroll start`",
    "memory_growth": "Most memory of the migrating process: a large table against a small one",
    "memory_peak": "Most memory of the migrating process",
    "overhead": "Time of a run beyond its own statements",
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
