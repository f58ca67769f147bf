"""Percentiles, and which statements belong to which range of time."""

from math import isnan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.demo.latency import percentile, summarise
from examples.demo.report import ApplicationReport, Failure, Timings


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.5, 1), (1, 0.99, 1), (2, 0.5, 1), (3, 0.5, 2), (100, 0.99, 99), (101, 0.99, 100), (10, 1.0, 10)],
)
def test_percentile_is_the_nearest_rank(count: int, share: float, expected: int) -> None:
    assert percentile(range(1, count + 1), share) == expected


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.99, 1.0]))
def test_percentile_is_the_smallest_value_that_covers_the_share(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_nothing_measured_is_never_good_enough() -> None:
    empty = summarise([])
    assert empty.count == 0
    assert isnan(empty.max_ms)
    assert not empty.max_ms < 1_000_000


def report() -> ApplicationReport:
    statements, operations = Timings(), Timings()
    for at, seconds, kind in [(10, 1, 0), (11.5, 0.25, 1), (12, 3, 1), (20, 0.5, 0)]:
        statements.add(at, seconds, kind)
    operations.add(11, 0.5)
    return ApplicationReport(
        started=10,
        ended=21,
        kinds=("read", "update"),
        statements=statements,
        operations=operations,
        failures=(Failure(at=12, kind="update", sqlstate="55P03", message="canceling"),),
        deployments=((10, "old"), (13, "new")),
        unfinished=1,
    )


def test_a_statement_counts_in_every_range_that_it_reaches_into() -> None:
    found = report()
    assert found.latency().count == 4
    assert found.latency(until=12).count == 2
    assert found.latency(since=13, until=19).max_ms == 3000
    assert found.latency(since=15.5).count == 1
    assert found.latency(since=11, until=11.2).max_ms == 1000
    assert found.latency(kinds={"read"}).max_ms == 1000
    assert found.counts(since=11.2) == {"update": 2, "read": 1}
    assert [statement.ms for statement in found.slowest(2)] == [3000, 1000]
    assert found.slowest(1, kinds={"read"})[0].at == 10
    assert (found.lag(since=11.4).count, found.lag(since=11.6).count) == (1, 0)


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    before = report()
    before.write(path)
    assert ApplicationReport.read(path) == before
    assert list(tmp_path.iterdir()) == [path]
