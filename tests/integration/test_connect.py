"""Connections: pinned settings, refusals with a remedy, and not a word of a secret."""

import pickle
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from profiles.model import Limits
from tasks.engines.postgresql.address import where
from tasks.engines.postgresql.connect import (
    check_version,
    connect,
    require_direct,
    require_primary,
    require_version,
    require_writable,
)
from tasks.engines.postgresql.embedded import EmbeddedPostgres, free_port, start
from tasks.engines.postgresql.transient import is_transient, retrying
from tasks.engines.unreachable import TooManyConnectionsError, UnreachableError
from tasks.model.errors import ChangeoverError, LockTimeoutError, PreflightError, ProfileError, TransientError
from tests.servers.remains import soon

SECRET = "geheim-4711"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A server that asks one user for a password, lets another in once only, and a database to nobody."""

    server: EmbeddedPostgres

    def url(self, user: str = "guarded", password: str = SECRET, rest: str = "postgres") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.server.port}/{rest}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with start() as server:
        hba = server.data_dir / "pg_hba.conf"
        hba.write_text(
            "host all guarded 127.0.0.1/32 scram-sha-256\nhost closed all 127.0.0.1/32 reject\n" + hba.read_text()
        )
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(f"create role guarded login password '{SECRET}'")
            conn.execute("create role single login connection limit 1")
            conn.execute("create role outside nologin")
            conn.execute("create database closed")
            conn.execute("create database private")
            conn.execute("create database frozen")
            conn.execute("alter database frozen set default_transaction_read_only = on")
            conn.execute("revoke connect on database private from public")
        server.restart()
        yield Guarded(server=server)


def assert_silent(error: BaseException, secret: str = SECRET) -> None:
    """Look for a secret wherever a traceback, a log or a pickle would find it."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        shown += repr(one) + repr(one.args) + repr(vars(one))
        if isinstance(one, psycopg.Error):
            shown += repr(one.pgconn)
        pending += [one.__cause__, one.__context__]
    assert secret not in shown
    assert secret.encode() not in pickle.dumps(error)


def one(conn: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


REFUSALS = {
    "password": ("guarded", "falsch-0815", "postgres", PreflightError, "refused the user or the password"),
    "no user": ("nosuch", SECRET, "postgres", PreflightError, "user does not exist"),
    "no login": ("outside", SECRET, "postgres", PreflightError, "may not log in"),
    "no database": ("guarded", SECRET, "nosuch", PreflightError, "database does not exist"),
    "pg_hba": ("postgres", SECRET, "closed", PreflightError, "allows no connection from here"),
    "connect": ("guarded", SECRET, "private", PreflightError, "may not connect to this database"),
    "tls": ("guarded", SECRET, "postgres?sslmode=require", PreflightError, "No encrypted connection"),
    "standby": ("guarded", SECRET, "frozen?target_session_attrs=read-write", PreflightError, "standby"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_tells_the_remedy_and_no_secret(guarded: Guarded, name: str) -> None:
    user, password, rest, kind, says = REFUSALS[name]
    with pytest.raises(kind) as refused:
        connect(guarded.url(user, password, rest), application_name="test")
    error = refused.value
    assert type(error) is kind
    assert says in error.what
    assert error.hint.endswith(".")
    assert error.where == f"127.0.0.1:{guarded.server.port}/{rest.partition('?')[0]}"
    assert isinstance(error.__cause__, psycopg.OperationalError)
    assert not is_transient(error)
    assert_silent(error, password)


def test_nobody_listening() -> None:
    port = free_port()
    with pytest.raises(UnreachableError, match="No server listens there") as refused:
        connect(f"postgresql://u:{SECRET}@127.0.0.1:{port}/d", application_name="test")
    assert refused.value.where == f"127.0.0.1:{port}/d"
    assert isinstance(refused.value, PreflightError)
    assert is_transient(refused.value)
    assert_silent(refused.value)


def test_an_unknown_host() -> None:
    with pytest.raises(UnreachableError, match="host is not known") as refused:
        connect(f"postgresql://u:{SECRET}@nosuch.invalid/d", application_name="test")
    assert refused.value.where == "nosuch.invalid:5432/d"
    assert_silent(refused.value)


def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://u:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=2"
        with pytest.raises(UnreachableError, match="did not answer in time") as refused:
            connect(url, application_name="test")
    assert_silent(refused.value)


def test_an_answer_that_nobody_foresaw_is_shown_without_the_password() -> None:
    with socket.socket() as strange:
        strange.bind(("127.0.0.1", 0))
        strange.listen()

        def answer() -> None:
            client, _ = strange.accept()
            with client:
                client.recv(1000)
                body = b"SFATAL\0C28000\0Mno entry for password=" + SECRET.encode() + b" today\0\0"
                client.sendall(b"E" + (len(body) + 4).to_bytes(4, "big") + body)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"postgresql://u:{SECRET}@127.0.0.1:{strange.getsockname()[1]}/d?sslmode=disable"
        with pytest.raises(PreflightError, match=r"could not be made: .*no entry for") as refused:
            connect(url, application_name="test")
        thread.join()
    assert_silent(refused.value)


def test_a_malformed_url_shows_nothing_of_itself() -> None:
    with pytest.raises(ProfileError) as refused:
        connect(f"postgresql://u:{SECRET}/@h/d", application_name="test")
    assert_silent(refused.value)
    assert_silent(refused.value, "geheim")


def test_too_many_connections_pass_by(guarded: Guarded) -> None:
    url = guarded.url("single")
    with connect(url, application_name="first"), pytest.raises(TooManyConnectionsError) as refused:
        connect(url, application_name="second")
    assert isinstance(refused.value, TransientError)
    assert is_transient(refused.value)
    assert_silent(refused.value)
    assert soon(lambda: connects(url))


def connects(url: str) -> bool:
    try:
        connect(url, application_name="test").close()
    except TooManyConnectionsError:
        return False
    return True


def test_values_become_the_same_text_whatever_the_server_prefers(guarded: Guarded) -> None:
    with psycopg.connect(guarded.server.url, autocommit=True) as conn:
        conn.execute("create database odd")
        for setting in (
            "timezone = 'Asia/Tokyo'",
            "datestyle = 'SQL, DMY'",
            "intervalstyle = sql_standard",
            "extra_float_digits = 0",
            "bytea_output = escape",
            "client_encoding = latin1",
            "default_transaction_isolation = serializable",
            "idle_session_timeout = '10s'",
            "transaction_timeout = '10s'",
        ):
            conn.execute(f"alter database odd set {setting}")
    query = """
        select concat_ws('|', timestamptz '2024-01-02 03:04:05.678901+09', date '2024-02-01',
                         interval '-1 mon 2 days -03:04:05.6', 0.1::float8 + 0.2, '\\xdeadbeef'::bytea, 'é€')
    """
    for autocommit in (True, False):
        with connect(guarded.server.url_of("odd"), application_name="test", autocommit=autocommit) as conn:
            conn.rollback()
            assert str(one(conn, query)).split("|") == [
                "2024-01-01 18:04:05.678901+00",
                "2024-02-01",
                "-1 mons +2 days -03:04:05.6",
                "0.30000000000000004",
                "\\xdeadbeef",
                "é€",
            ]
            assert one(conn, "show transaction_isolation") == "read committed"
            assert one(conn, "show client_connection_check_interval") == "1s"
            assert one(conn, "show idle_in_transaction_session_timeout") == "1min"
            assert one(conn, "show idle_session_timeout") == "0"
            assert one(conn, "show transaction_timeout") == "0"


def test_what_is_asked_for_is_set_and_survives_a_rollback(database: str) -> None:
    url = database.replace("postgresql://", "postgresql+psycopg://")
    with connect(
        url,
        application_name="changeover widen_ids 7",
        lock_timeout_ms=300,
        statement_timeout_ms=0,
        search_path='shop, "Odd One"',
        autocommit=False,
    ) as conn:
        conn.rollback()
        assert not conn.autocommit
        assert one(conn, "show application_name") == "changeover widen_ids 7"
        assert one(conn, "show lock_timeout") == "300ms"
        assert one(conn, "show statement_timeout") == "0"
        assert one(conn, "show search_path") == 'shop, "Odd One"'
    with connect(database, application_name="test") as conn:
        assert conn.autocommit
        assert one(conn, "show lock_timeout") == "0"
        for _ in range(10):
            conn.execute("select %s", [1])
        assert one(conn, "select count(*) from pg_prepared_statements") == 0


def test_a_read_only_connection_writes_nothing(database: str) -> None:
    for autocommit in (True, False):
        with connect(database, application_name="test", read_only=True, autocommit=autocommit) as conn:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                conn.execute("create table t ()")
            conn.rollback()
            require_writable(conn)


def test_a_search_path_that_is_none_is_refused(database: str) -> None:
    with pytest.raises(PreflightError, match="settings of the session were refused") as refused:
        connect(database, application_name="test", search_path='"open')
    assert refused.value.where == where(database)


@pytest.mark.parametrize("name", ["", "x" * 64, "naïve", "line\nbreak"])
def test_a_name_that_would_not_be_found_again_is_refused(database: str, name: str) -> None:
    with pytest.raises(ValueError, match="application_name"):
        connect(database, application_name=name)


def test_the_query_of_a_client_that_died_ends(database: str) -> None:
    client = connect(database, application_name="orphan")
    ended = threading.Thread(target=sleep_on, args=[client])
    ended.start()
    with connect(database, application_name="watcher") as conn:
        count = "select count(*) from pg_stat_activity where application_name = 'orphan' and state = 'active'"
        assert soon(lambda: one(conn, count) == 1)
        with socket.socket(fileno=socket.dup(client.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
        assert soon(lambda: one(conn, count) == 0, seconds=5)
    ended.join()
    client.close()


def sleep_on(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    with pytest.raises(psycopg.OperationalError) as lost:
        conn.execute("select pg_sleep(60)")
    assert is_transient(lost.value)


def test_a_pooler_is_refused_and_its_shared_session_left_as_it_was(pooled: str, database: str) -> None:
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as other:
        before = settings(other)
        with pytest.raises(PreflightError, match="connection pooler") as refused:
            connect(pooled, application_name="test", lock_timeout_ms=300, search_path="nowhere")
        assert "PgBouncer" in refused.value.hint
        assert refused.value.where == where(pooled)
        assert settings(other) == before
        with pytest.raises(PreflightError, match="connection pooler"):
            require_direct(other)
    with connect(database, application_name="test") as conn:
        require_direct(conn)
    with pytest.raises(PreflightError, match="connection pooler"):
        connect(f"{pooled}?options=-c%20lock_timeout%3D1", application_name="test")


def settings(conn: psycopg.Connection[tuple[object, ...]]) -> object:
    return one(
        conn,
        """
        select coalesce(jsonb_object_agg(name, setting), '{}')
          from pg_settings
         where source = 'session' and name <> 'application_name'
        """,
    )


def test_a_standby_is_refused(guarded: Guarded) -> None:
    with guarded.server.replica() as replica:
        url = replica.url.replace("postgres@", f"guarded:{SECRET}@")
        for require in (require_primary, require_writable):
            with connect(url, application_name="test") as conn:
                with pytest.raises(PreflightError, match="is a standby") as refused:
                    require(conn)
                assert "primary" in refused.value.hint
                assert refused.value.where == where(url)
                assert_silent(refused.value)
    with connect(guarded.url(), application_name="test") as conn:
        require_primary(conn)
        require_writable(conn)


def test_a_read_only_database_is_refused(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"alter database {conn.info.dbname} set default_transaction_read_only = on")
    with connect(database, application_name="test", autocommit=False) as conn:
        with pytest.raises(PreflightError, match="default_transaction_read_only"):
            require_writable(conn)
        assert conn.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_versions(database: str, database16: str) -> None:
    for url, version in ((database, 18), (database16, 16)):
        with connect(url, application_name="test") as conn:
            assert require_version(conn) == version
    for number, remedy in ((140012, "Upgrade the server"), (190000, "version of Changeover")):
        with pytest.raises(PreflightError, match="only 15 to 18") as refused:
            check_version(number, "h:5432/d")
        assert remedy in refused.value.hint
    assert [check_version(number, "") for number in (150000, 180004)] == [15, 18]


def test_where_names_an_open_connection(database: str) -> None:
    with connect(database, application_name="test") as conn:
        assert where(conn) == where(database)
    assert where(conn) == "a closed connection"


def test_a_run_survives_the_restart_of_its_server() -> None:
    seen: list[str] = []
    with start() as server:
        conn = connect(server.url, application_name="test")

        def work() -> object:
            nonlocal conn
            if conn.closed:
                conn = connect(server.url, application_name="test")
            return one(conn, "select 42")

        server.kill()
        again = threading.Timer(1.5, server.restart)
        again.start()
        answer = retrying(Limits(), lambda error, number, seconds: seen.append(type(error).__name__))(work)
        again.join()
        conn.close()
    assert answer == 42
    assert "UnreachableError" in seen


def test_a_lock_that_stays_is_a_lock_timeout(database: str) -> None:
    with connect(database, application_name="holder", autocommit=False) as holder:
        holder.execute("create table t ()")
        holder.commit()
        holder.execute("lock table t")
        with connect(database, application_name="waiter", lock_timeout_ms=20) as waiter:
            began = time.monotonic()
            with pytest.raises(LockTimeoutError, match="after 3 tries: canceling statement due to lock") as given_up:
                retrying(Limits(attempts=3))(waiter.execute, "select from t")
            assert 0.06 < time.monotonic() - began < 5
    assert isinstance(given_up.value.__cause__, psycopg.errors.LockNotAvailable)


def test_a_deadlock_passes_and_a_data_error_does_not(database: str) -> None:
    with connect(database, application_name="setup") as conn:
        conn.execute("create table t (id int primary key, v int check (v < 1000))")
        conn.execute("insert into t values (1, 0), (2, 0)")
    both = threading.Barrier(2)
    tries: list[str] = []

    def cross(first: int, second: int) -> None:
        met = False

        def once() -> None:
            nonlocal met
            with connect(database, application_name="test", autocommit=False) as conn:
                conn.execute("update t set v = v + 1 where id = %s", [first])
                if not met:
                    met = True
                    both.wait(20)
                conn.execute("update t set v = v + 1 where id = %s", [second])

        retrying(Limits(), lambda error, number, seconds: tries.append(type(error).__name__))(once)

    threads = [threading.Thread(target=cross, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect(database, application_name="test") as conn:
        assert one(conn, "select array_agg(v) from t") == [2, 2]
        assert tries == ["DeadlockDetected"]
        tries.clear()
        for wrong, error in (("v = 5000", psycopg.errors.CheckViolation), ("v = 'x'", psycopg.DataError)):
            with pytest.raises(error):
                retrying(Limits(), lambda error, number, seconds: tries.append("again"))(
                    conn.execute, f"update t set {wrong}"
                )
    assert tries == []


def test_an_error_of_ours_arrives_whole_from_another_process(guarded: Guarded) -> None:
    with pytest.raises(ChangeoverError) as refused:
        connect(guarded.url(password="falsch-0815"), application_name="test")
    arrived = pickle.loads(pickle.dumps(refused.value))
    assert str(arrived) == str(refused.value)
    assert type(arrived) is type(refused.value)
