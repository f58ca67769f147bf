"""URLs of databases: never torn apart wrongly, never shown with a password."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engines.mysql.address import options
from tasks.engines.postgresql.address import parameters, redact, where
from tasks.model.errors import ProfileError

LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
RESERVED = st.text("ab1:/?#[]@!$&'()*+,;=% ", min_size=1, max_size=12)


@given(user=LETTERS, password=LETTERS, database=LETTERS)
def test_encoded_names_arrive_exactly(user: str, password: str, database: str) -> None:
    encoded = [quote(text, safe="") for text in (user, password, database)]
    found = parameters("postgresql+psycopg://{}:{}@db.example:5433/{}".format(*encoded))
    assert found == {
        "user": user,
        "password": password,
        "host": "db.example",
        "port": "5433",
        "dbname": database,
    }


@given(password=RESERVED)
def test_an_unencoded_password_is_understood_whole_or_refused_in_silence(password: str) -> None:
    url = f"postgresql://user:{password}@host:5432/db"
    if where(url) == "host:5432/db":
        assert parameters(url)["password"] == unquote(password)
        return
    error = _refusal(url)
    assert str(error) == str(_refusal("postgresql://user:%@host/db"))
    assert error.__cause__ is None
    assert error.__context__ is None
    assert where(url) == "an unreadable URL"


@given(password=st.text("kq7:/?#[]@!$&()*+=%", min_size=1, max_size=12))
def test_redact_leaves_nothing_of_a_password(password: str) -> None:
    shown = "tried postgresql://us:***@host/db"
    assert redact(f"tried postgresql://us:{password}@host/db") == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app@host:5432/db", "postgresql://app@host:5432/db"),
        ("a://x:one@h/1 and b://y:two@h/2", "a://x:***@h/1 and b://y:***@h/2"),
        (
            "postgresql://h/db?user=u&password=one&sslmode=disable",
            "postgresql://h/db?user=u&password=***&sslmode=disable",
        ),
        ("host=h password='it''s one' dbname=d", "host=h password=*** dbname=d"),
        (r"host=h password='it\'s one' dbname=d", "host=h password=*** dbname=d"),
        ("PGPASSWORD=one psql", "PGPASSWORD=*** psql"),
        ('{"user": "u", "password": "one two"}', '{"user": "u", "password": ***}'),
        ("sslpassword = one", "sslpassword = ***"),
        ("alter role u password 'it''s one';", "alter role u password '***';"),
        ('password authentication failed for user "u"', 'password authentication failed for user "u"'),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(RuntimeError(text)) == shown


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:p@db.example:5433/shop", "db.example:5433/shop"),
        ("postgres://u@db.example/shop", "db.example:5432/shop"),
        ("postgresql+psycopg://u:p@[::1]:5433/shop?sslmode=require", "[::1]:5433/shop"),
        ("postgresql://u@a,b:5433/shop", "a:5432,b:5433/shop"),
        ("postgresql://u@a,b/shop", "a:5432,b:5432/shop"),
        ("postgresql:///shop?host=/run/postgresql", "/run/postgresql:5432/shop"),
        ("postgresql://u@h", "h:5432/u"),
        ("mysql://u:p@h/d", "an unreadable URL"),
    ],
)
def test_where(url: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    assert where(url) == place


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:geheim@h/d", "does not begin with postgresql://"),
        ("host=h password=geheim", "does not begin with postgresql://"),
        ("postgresql://u:geheim@h/d?bogus=1", "there is no parameter bogus"),
        ("postgresql://u:ge%heim@h/d", "malformed"),
        ("postgresql://u:1/2?geheim=x@h/d", "malformed"),
        ("postgresql://u:geheim%b1@h/d", "malformed"),
        ("postgresql://u:ge heim@h/d", "malformed"),
        ("postgresql://u:gehe@im@h/d", "malformed"),
        ("postgresql://u:12/34geheim@h/d", "malformed"),
        ("postgresql://u:1/2?user=geheim@h/d", "malformed"),
        ("postgresql://u:geheim@h:99999/d", "malformed"),
        ("postgresql://u:geheim@h:port/d", "malformed"),
    ],
)
def test_a_malformed_url_is_refused_with_a_remedy(url: str, says: str) -> None:
    error = _refusal(url)
    assert says in error.what
    assert error.hint
    assert "geheim" not in str(error)
    assert "heim" not in str(error)


def _refusal(url: str) -> ProfileError:
    with pytest.raises(ProfileError) as refused:
        parameters(url)
    return refused.value


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("?ssl_ca=/ca", {"ssl_ca": "/ca", "ssl_verify_cert": True, "ssl_verify_identity": True}),
        ("?ssl_ca=/ca&ssl_verify_identity=false", {"ssl_verify_cert": True, "ssl_verify_identity": False}),
        ("?ssl_ca=/ca&ssl_verify_cert=false", {"ssl_verify_cert": False, "ssl_verify_identity": False}),
    ],
)
def test_tls_of_mariadb_proves_who_answers(query: str, expected: dict[str, object]) -> None:
    found = options(f"mysql://u:p@h/d{query}")
    assert {name: found[name] for name in expected} == expected
    assert ("ssl_ca" in found) == bool(query)


@pytest.mark.parametrize("query", ["ssl_verify_cert=true", "ssl_ca=/ca&ssl_verify_cert=no", "ssl_mode=required"])
def test_tls_of_mariadb_that_would_prove_nothing_is_refused(query: str) -> None:
    with pytest.raises(ProfileError):
        options(f"mysql://u:p@h/d?{query}")
