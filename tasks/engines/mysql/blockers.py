"""Who may stand in the way: open transactions, named without their statements."""

from tasks.engines.mysql.session import MariaSession


def open_transactions(conn: MariaSession, most: int = 5) -> str:
    """Name the oldest open transactions. Which of them hold a table MariaDB tells only by a plugin."""
    rows = conn.execute(
        """
        select t.trx_mysql_thread_id, coalesce(p.user, ''), coalesce(p.command, ''),
               timestampdiff(microsecond, t.trx_started, now(6)) / 1e6
          from information_schema.innodb_trx t
          left join information_schema.processlist p on p.id = t.trx_mysql_thread_id
         where t.trx_mysql_thread_id <> connection_id() and coalesce(p.db, '') in (database(), '')
         order by t.trx_started limit %s
        """,
        (most,),
    ).fetchall()
    found = [f"connection {row[0]} ({row[1]}, {row[2]}, {float(row[3]):.1f} s)" for row in rows]
    return "one of: " + "; ".join(found) if found else "nobody that can be seen"
