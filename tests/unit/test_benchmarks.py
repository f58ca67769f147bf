"""What is made of figures; the figures themselves are made by `make bench`."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import NAMES
from benchmarks.result import Result, ratio, read, save


def result(**changed: object) -> Result:
    """Give a result."""
    values = {"name": "overhead", "measured": 2.0, "goal": 3.0, "unit": "s", "detail": "three rounds"}
    return Result(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("better", "measured", "met"),
    [("lower", 3.0, True), ("lower", 3.1, False), ("higher", 3.0, True), ("higher", 2.9, False)],
)
def test_a_goal_is_met_at_its_edge(better: str, measured: float, met: bool) -> None:
    """And missed a hair beyond."""
    assert result(better=better, measured=measured).met is met


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which everything was slow counts no more than another."""
    assert ratio([1.1, 22.0, 1.2], [1.0, 20.0, 1.0]) == 1.1


def test_results_of_other_benchmarks_are_kept(tmp_path: Path) -> None:
    """`--only` renews one of them."""
    path = tmp_path / "results.json"
    save([result(), result(name="memory_peak", unit="MB")], {"memory": "8 GiB"}, path)
    save([result(measured=4.0)], {"memory": "16 GiB"}, path)
    content = read(path)
    assert content["machine"] == {"memory": "16 GiB"}
    assert [(row["name"], row["measured"], row["met"]) for row in content["results"]] == [
        ("overhead", 4.0, False),
        ("memory_peak", 2.0, True),
    ]


def test_the_page_says_what_was_missed(tmp_path: Path) -> None:
    """In bold, with the figure and the goal."""
    path = tmp_path / "results.json"
    save([result(measured=4.5)], {"memory": "16 GiB"}, path)
    page = report.page(path)
    assert "| 4.5 s | at most 3 s | **no** |" in page
    assert "three rounds" in page
    assert "- memory: 16 GiB" in page


def test_the_page_knows_every_benchmark(tmp_path: Path) -> None:
    """Whatever can be measured can be shown."""
    path = tmp_path / "results.json"
    save([result(name=name) for name in NAMES], {}, path)
    assert report.page(path).count("| 2 s | at most 3 s | yes |") == len(NAMES)


def test_the_page_in_docs_shows_the_results() -> None:
    """Nobody edits it by hand."""
    assert report.PAGE.read_text(encoding="utf-8") == report.page()
