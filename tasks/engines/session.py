"""A session with a database, whichever it is.

Both have `execute` with `%s` and `%(name)s`, `transaction`, `close` and `closed`, and are autocommit.
"""

from typing import Any

import psycopg

from tasks.engines.mysql.session import MariaSession

Session = psycopg.Connection[Any] | MariaSession
