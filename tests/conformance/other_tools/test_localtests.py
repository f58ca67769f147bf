"""Folders in the format of gh-ost's `localtests`: of ours one by default; of theirs all, where it is named."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.other_tools.localtests import Case, Outcome, events_on, walk
from tests.servers.mariadb import MariaServer, fresh_database

THEIRS = "CHANGEOVER_LOCALTESTS"
"""Names the folder `localtests` of a copy of gh-ost, whose files are not ours to commit."""
BY_DEFAULT = ("every_write_renamed",)
OURS = Case.all_of(Path(__file__).parent / "localtests")
_ZONE, _KEY, _NO_KEY = "depends on the time zone of whoever writes", "another primary key", "has no primary key"
_NAMED = "the event gh_ost_test names '{}'"
REFUSED = {
    "copy-retries-exhausted": "Raise max_binlog_cache_size",
    "datetime-to-timestamp": _ZONE,
    "datetime-to-timestamp-pk-fail": _ZONE,
    "enum-pk": "rows cannot be walked along 'e'",
    "fail-drop-pk": _KEY,
    "fail-float-unique-key": _NO_KEY,
    "fail-no-shared-uk": _KEY,
    "fail-no-unique-key": _NO_KEY,
    "fail-rename-table": "'rename' reaches beyond the table",
    "panic-on-warnings-duplicate-unique-values-on-column-type-change": "the server said 1406",
    "panic-on-warnings-duplicate-values-for-unique-index": "the server said 1062",
    "rename": _NAMED.format("c2"),
    "rename-reorder-column": _NAMED.format("c2"),
    "rename-reorder-columns": _NAMED.format("c2"),
    "shared-uk": _KEY,
    "swap-pk-uk": _KEY,
    "swap-uk": _KEY,
    "swap-uk-uk": _NO_KEY,
    "tz-datetime-ts": _ZONE,
    "unsigned-rename": _NAMED.format("iu"),
}
"""Cases of theirs that we refuse, and what we say; gh-ost lets an event fail that names a column that is renamed."""
OTHERWISE = {"autoinc-copy-deletes-user-defined": "AUTO_INCREMENT=8"}
"""What the new table has instead of what they expect: the next number is never one that the old table has given."""
NEED_MORE = {"sysbench"}
"""Cases of theirs that another program writes to."""


@pytest.fixture(scope="module")
def eventful(mariadb: MariaServer) -> Iterator[MariaServer]:
    """MariaDB, with its scheduler of events on."""
    with events_on(mariadb.url):
        yield mariadb


def compare(outcome: Outcome, case: Case) -> None:
    """Nothing was refused, and both tables hold the same."""
    assert outcome.refused is None
    assert outcome.old == outcome.new
    assert OTHERWISE.get(case.name, case.text("expect_table_structure")) in outcome.structure


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, marks=() if one.name in BY_DEFAULT else pytest.mark.every_leg) for one in OURS],
    ids=lambda case: case.name,
)
def test_ours(case: Case, eventful: MariaServer) -> None:
    """Equal tables, or exactly what the folder says."""
    with fresh_database(eventful) as url:
        outcome = walk(case, url)
    if (case.folder / "expect_failure").exists():
        assert outcome.refused is not None
        assert case.text("expect_failure") in outcome.refused
    else:
        assert outcome.new
        compare(outcome, case)


if THEIRS in os.environ:

    @pytest.mark.parametrize(
        "case",
        [case for case in Case.all_of(Path(os.environ[THEIRS])) if case.name not in NEED_MORE],
        ids=lambda case: case.name,
    )
    def test_theirs(case: Case, eventful: MariaServer) -> None:
        """Equal tables, or the reason why not; what gh-ost itself fails at may work."""
        with fresh_database(eventful) as url:
            outcome = walk(case, url)
        if case.name in REFUSED:
            assert outcome.refused is not None
            assert REFUSED[case.name] in outcome.refused
        else:
            compare(outcome, case)


def test_folders_that_are_not_for_mariadb_are_left_out() -> None:
    """By the file that says so; what is for one other than MariaDB stays."""
    folder = Path(__file__).parent / "localtests"
    names = {one.parent.name for one in folder.glob("*/ignore_versions")}
    assert names == {"not_for_mariadb", "not_for_another"}
    assert names & {one.name for one in OURS} == {"not_for_another"}
