"""Which table of InnoDB stands behind a name: TRUNCATE puts another there, and fires no trigger."""

from tasks.engines.mysql.names import quoted


def table_id(table: str) -> str:
    """Return the query for the numbers that the server has given a table and its partitions; NULL where it has none.

    A user without PROCESS may not ask. TRUNCATE, OPTIMIZE and every ALTER TABLE that copies give new ones.
    """
    # Names of files have an alphabet of their own.
    encoded = [f"cast(convert({one} using filename) as binary)" for one in ("database()", quoted(table))]
    name = f"concat({encoded[0]}, '/', {encoded[1]})"
    parts = ", ".join(f"concat({name}, '{mark}')" for mark in ("#P#", "#p#"))
    return (
        "select group_concat(table_id order by table_id) from information_schema.innodb_sys_tables"
        f" where cast(name as binary) = {name} or left(cast(name as binary), length({name}) + 3) in ({parts})"
    )
