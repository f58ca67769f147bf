"""The digest of a snapshot and of a dump: of the bytes of the rows, whatever the types say is equal."""

import psycopg
import pytest

from tasks.engines.postgresql.measure import digest

DIFFERENT = {
    "a sign": ("(values (5::numeric)) as x (a)", "(values (-5::numeric)) as x (a)"),
    "a scale": ("(values (1.0)) as x (a)", "(values (1.00)) as x (a)"),
    "a negative zero": ("(values (0::float8)) as x (a)", "(values ('-0'::float8)) as x (a)"),
    "a month": ("(values (interval '1 month')) as x (a)", "(values (interval '30 days')) as x (a)"),
    "an exchange": ("(values (1, 10), (2, 20)) as x (a, b)", "(values (1, 20), (2, 10)) as x (a, b)"),
    "one row more": ("(values (0)) as x (a)", "(values (0), (0)) as x (a)"),
    "json text": ("(values ('{\"a\": 1}'::json)) as x (a)", "(values ('{\"a\":1}'::json)) as x (a)"),
    "no binary form": ("(values ('=r/postgres'::aclitem)) as x (a)", "(values ('=w/postgres'::aclitem)) as x (a)"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_rows_have_different_digests(name: str, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        one, other = (digest(conn, f"(select * from {rows})") for rows in DIFFERENT[name])
        assert one != other


def test_the_order_of_rows_does_not_count(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        assert digest(conn, "(values (1), (2))") == digest(conn, "(values (2), (1))")
