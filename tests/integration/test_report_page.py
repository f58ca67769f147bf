"""The account of a migration, as JSON and as a page that needs nothing else."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import psycopg
import pytest

from tasks.ledger.fencing import take_over
from tasks.ledger.gates import record_gate
from tasks.ledger.install import install
from tasks.ledger.state import create
from tasks.model.errors import StateError
from tasks.model.status import CheckResult, GateResult
from tasks.report import gate_markdown
from tasks.reporting.account import Account, account
from tasks.reporting.page import page, write, write_file
from tests.integration.ledger_samples import a_plan

NASTY = "</script><img src=x onerror=alert(1)> | `x` \"q\" 'q'"
CHECKS = (
    CheckResult(name="holds", passed=True, evaluated=True, message="1,000 rows compared", seconds=0.25),
    CheckResult(name=NASTY, passed=False, evaluated=True, unexpected=3, message=NASTY, examples=(NASTY,),
                fix=f"update t set c = '{NASTY}'", seconds=1.5),
    CheckResult(name="watched", passed=False, evaluated=True, unexpected=1, severity="warning"),
    CheckResult(name="answered for", passed=False, evaluated=True, waiver="Grace until 2026-12-24: known"),
    CheckResult(name="unknown", passed=False, evaluated=False, message="could not be evaluated: 42P01"),
)  # fmt: skip


@pytest.fixture
def told(database: str) -> Iterator[Account]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        epoch = take_over(conn, "widen_ids", "r", executor="otto")
        for checks in (CHECKS[:1], CHECKS, CHECKS[:1]):
            with conn.transaction():
                record_gate(conn, "widen_ids", epoch, GateResult(gate="before_swap", checks=checks), 0)
        with conn.transaction():
            record_gate(conn, "widen_ids", epoch, GateResult(gate="after_swap", checks=CHECKS), 0)
        yield account(conn, "widen_ids")


def test_both_halves_of_the_gate_before_a_run_are_told(database: str) -> None:
    """The preflight records one, and the suites that are bound to it another: the newer does not hide the older."""
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        for run in ("r", "s"):
            epoch = take_over(conn, "widen_ids", run, executor="otto")
            for checks in (CHECKS[:1], CHECKS[2:4]):
                with conn.transaction():
                    record_gate(conn, "widen_ids", epoch, GateResult(gate="before_run", checks=checks), 0)
        (one,) = account(conn, "widen_ids").gates
    assert [check.name for check in one.result.checks] == ["holds", "watched", "answered for"]
    assert one.passed


class _Reader(HTMLParser):
    """Collects elements, and what they would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_and_runs_nothing(told: Account) -> None:
    text = page(told)
    reader = _Reader()
    reader.feed(text)
    assert reader.open == [], "every element is closed"
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert not {name for name in reader.attributes if name in ("src", "href", "style") or name.startswith("on")}
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert NASTY in reader.text, "what is in the account is shown as it is"
    for verdict in ("passed", "FAILED", "WARNING", "WAIVED", "NOT EVALUATED"):
        assert verdict in reader.text


def test_the_newest_result_of_each_gate_and_the_trend_of_each_check(told: Account) -> None:
    assert [(gate.gate, gate.passed) for gate in told.gates] == [("before_swap", True), ("after_swap", False)]
    trends = {(trend.gate, trend.check): [point.verdict for point in trend.points] for trend in told.trends}
    assert trends["before_swap", "holds"] == ["passed"] * 3
    assert trends["before_swap", NASTY] == ["FAILED"]
    assert trends["after_swap", "answered for"] == ["WAIVED"]


def test_both_files_are_written_together(told: Account, tmp_path: Path) -> None:
    html, data = write(told, tmp_path / "m")
    assert html.read_text(encoding="utf-8") == page(told)
    assert Account.model_validate(json.loads(data.read_text(encoding="utf-8"))) == told
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["report.html", "report.json"]
    with pytest.raises(StateError, match="cannot be written"):
        write_file(tmp_path / "missing" / "x.html", "")


def test_markdown_keeps_its_cells() -> None:
    lines = gate_markdown(GateResult(gate="before_swap", checks=CHECKS)).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(CHECKS)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
