"""The MariaDB of the tests is as the tests need it."""

from tests.servers.mariadb import connected


def test_it_logs_rows_whole_and_holds_to_strict_mode(maria_database: str) -> None:
    """What replication and parity tests rely on."""
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("select @@binlog_format, @@binlog_row_metadata, @@sql_mode, database()")
        row = cursor.fetchone()
    assert row is not None
    assert row[:2] == ("ROW", "FULL")
    assert "STRICT_TRANS_TABLES" in row[2]
    assert maria_database.endswith(f"/{row[3]}")
