"""Profiles: what is loaded, what is refused with which words, and where a URL comes from."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from profiles.document import SHIPPED
from profiles.loader import load, resolve_url
from profiles.model import Database, Profile
from tasks.model.errors import ProfileError
from tests.legs import EVERY_LEG

ROOT = Path(__file__).parents[2]
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHANGEOVER_PROFILES", raising=False)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(name_or_path: str | Path) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        load(name_or_path)
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert caught.value.hint.endswith((".", "?"))
    return caught.value


DATABASE = '[databases.main]\nurl_env = "SOME_URL"\n'


# What ships.


def test_the_shipped_profiles_load_and_say_who_they_are() -> None:
    for path in SHIPPED.glob("*.toml"):
        if path.stem != "profiles":
            assert load(path.stem).name == path.stem
    assert {path.stem for path in SHIPPED.glob("*.toml")} == {"local", "staging", "production", "profiles"}


def test_production_is_the_most_careful() -> None:
    local, staging, production = load("local"), load("staging"), load("production")
    assert (local.approvals, production.approvals) == (0, 1)
    assert production.approval_wait > 0
    assert production.on_failure == "keep"
    assert production.confirm
    assert not production.values_in_reports
    assert production.window is not None
    assert (production.window.start, production.window.end) == ("02:00", "06:00")
    assert production.limits == staging.limits.model_copy(update={"lock_patience": production.limits.lock_patience})
    assert production.limits.lock_budget <= local.limits.lock_budget
    lag = production.throttle.replica_lag_bytes
    assert lag is not None
    assert staging.throttle.replica_lag_bytes is not None
    assert lag < staging.throttle.replica_lag_bytes
    assert local.soak < staging.soak < production.soak


@pytest.mark.parametrize(
    ("profile", "variable"),
    [
        ("local", "CHANGEOVER_URL"),
        ("staging", "CHANGEOVER_STAGING_URL"),
        ("production", "CHANGEOVER_PRODUCTION_URL"),
    ],
)
def test_the_shipped_profiles_take_their_url_from_the_environment(
    profile: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f" postgresql://u:{SECRET}@h/db\n")
    url = resolve_url(load(profile), "main")
    assert url.get_secret_value() == f"postgresql://u:{SECRET}@h/db"
    assert SECRET not in f"{url} {url!r}"


# Where a name is looked up.


def test_the_working_directory_goes_before_the_shipped_profiles_and_the_variable_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load("local").soak == 0
    write(tmp_path / "profiles/local.toml", f"soak = 1.0\n{DATABASE}")
    assert load("local").soak == 1
    write(tmp_path / "elsewhere/local.toml", f"soak = 2.0\n{DATABASE}")
    monkeypatch.setenv("CHANGEOVER_PROFILES", str(tmp_path / "elsewhere"))
    assert load("local").soak == 2


def test_a_path_is_read_as_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "here/team.toml", DATABASE)
    assert load(path).name == load("here/team.toml").name == "team"


def test_an_unknown_name_names_the_nearest(tmp_path: Path) -> None:
    assert refused("prodution").hint == "Did you mean production?"
    error = refused("qqq")
    assert "no profile of the name 'qqq'" in error.what
    assert error.hint == "Use one of: local, production, staging; or give a path."
    assert "no such file" in refused("missing/local.toml").what


def test_the_file_of_prefect_is_not_a_profile() -> None:
    assert "no profile of the name 'profiles'" in refused("profiles").what


# Overlays.


def test_an_overlay_is_merged_deeply_and_replaces_everything_else(tmp_path: Path) -> None:
    write(
        tmp_path / "base.toml",
        'name = "base"\nsoak = 5.0\n[databases.main]\nurl_env = "A"\nreplicas = ["one", "two"]\n'
        "[limits]\nlock_budget = 100\nattempts = 2\n",
    )
    over = write(
        tmp_path / "over.toml",
        'extends = "base"\n[databases.main]\nreplicas = ["three"]\n[databases.other]\nurl_env = "B"\n'
        "[limits]\nattempts = 9\n",
    )
    profile = load(over)
    assert profile.soak == 5
    assert (profile.limits.lock_budget, profile.limits.attempts) == (100, 9)
    assert profile.databases["main"] == Database(url_env="A", replicas=("three",))
    assert profile.databases["other"] == Database(url_env="B")


def test_a_name_is_not_inherited(tmp_path: Path) -> None:
    assert load(write(tmp_path / "mine.toml", 'extends = "production"\n')).name == "mine"


def test_a_profile_can_extend_the_shipped_one_of_its_own_name(tmp_path: Path) -> None:
    write(tmp_path / "profiles/staging.toml", 'extends = "staging"\nsoak = 3.0\n')
    profile = load("staging")
    assert profile.soak == 3
    assert profile.limits == load(SHIPPED / "staging.toml").limits


def test_a_path_in_extends_is_relative_to_its_file(tmp_path: Path) -> None:
    write(tmp_path / "a/base.toml", f"soak = 4.0\n{DATABASE}")
    over = write(tmp_path / "b/over.toml", 'extends = "../a/base.toml"\n')
    assert load(over).soak == 4


@pytest.mark.parametrize("reference", ["{}", "./{}.toml"])
def test_a_circle_is_refused(tmp_path: Path, reference: str) -> None:
    write(tmp_path / "one.toml", f'extends = "{reference.format("two")}"\n{DATABASE}')
    write(tmp_path / "two.toml", f'extends = "{reference.format("one")}"\n')
    error = refused(tmp_path / "one.toml")
    assert "leads back" in error.what
    assert error.where == f"{tmp_path / 'two.toml'}: extends"


@pytest.mark.parametrize("value", ["3", '""', '["local"]'])
def test_an_extends_that_names_nothing_is_refused(tmp_path: Path, value: str) -> None:
    error = refused(write(tmp_path / "p.toml", f"extends = {value}\n{DATABASE}"))
    assert error.where.endswith("p.toml: extends")


def test_a_missing_base_is_reported_where_it_is_named(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "p.toml", f'extends = "stagign"\n{DATABASE}'))
    assert error.where.endswith("p.toml: extends")
    assert error.hint == "Did you mean staging?"


# What is refused.


def test_every_problem_is_in_one_error_with_file_key_reason_and_hint(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", "[limits]\nlock_bugdet = 100\n[databases.main]\n")
    over = write(
        tmp_path / "over.toml",
        'extends = "base"\napprovals = -1\nconfirm = "yes"\n[limits]\nattempts = true\n'
        '[window]\nstart = "2:00"\nend = "06:00"\ntimezone = "Europe/Madird"\n[runner]\nkind = "threads"\n',
    )
    error = refused(over)
    lines = error.what.splitlines()
    assert lines[0] == f"the profile has {len(lines) - 1} problems"
    base, over_ = f"  {tmp_path}/base.toml: ", f"  {tmp_path}/over.toml: "
    expected = [
        f"{base}limits.lock_bugdet: unknown key. Did you mean lock_budget?",
        f"{base}databases.main: nothing says where the URL is. Name the variable",
        f"{over_}approvals: it should be greater than or equal to 0. Correct the value. How many people",
        f"{over_}confirm: it should be a valid boolean. Correct",
        f"{over_}limits.attempts: it should be a valid integer. Correct",
        f"{over_}window.start: it does not have the form that is asked for. Correct the value. `HH:MM`",
        f"{over_}window.timezone: it is not an IANA time zone. Did you mean 'Europe/Madrid'?",
        f"{over_}runner.kind: it should be 'thread' or 'dask'. Correct",
    ]
    for start in expected:
        assert any(line.startswith(start) for line in lines), (start, lines)
    assert len(lines) == len(expected) + 1
    assert error.where == f"{tmp_path}/over.toml, {tmp_path}/base.toml"


def test_a_single_problem_needs_no_list(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "p.toml", f"{DATABASE}[throttle]\npause_ratoi = 1.0\n"))
    assert error.what == "unknown key"
    assert error.where == f"{tmp_path}/p.toml: throttle.pause_ratoi"
    assert error.hint == "Did you mean pause_ratio?"


def test_an_unknown_key_without_a_neighbour_lists_what_there_is(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "p.toml", f"{DATABASE}[runner]\nqqqqq = 1\n"))
    assert error.hint == "Remove it, or use one of: dask_address, kind, shards."


@pytest.mark.parametrize(
    "text",
    [
        f'[databases.main]\nurl_env = "postgresql://app:{SECRET}@db/orders"\n',
        f'[databases.main]\nurl_env = "A"\n# was postgresql://app:{SECRET}@db/orders\n',
        f'evidence = "postgres://app:x/{SECRET}@db"\n{DATABASE}',
        f'evidence = "postgres://db/orders?user=app&password={SECRET}"\n{DATABASE}',
        f'evidence = "host=db password={SECRET}"\n{DATABASE}',
        f'evidence = "postgres\\u003a//app\\u003a{SECRET}\\u0040db"\n{DATABASE}',
        f'[databases."postgres\\u003a//app\\u003a{SECRET}\\u0040db"]\nurl_env = "A"\n',
        f"evidence = ['''\nmongodb+srv://app:{SECRET}@db''']\n{DATABASE}",
        f'evidence = "postgres://app:{SECRET}@db"\nthis is not TOML\n',
    ],
)
def test_a_url_with_a_password_is_refused_wherever_it_stands(tmp_path: Path, text: str) -> None:
    error = refused(write(tmp_path / "p.toml", text))
    assert "a URL with a password is in the file" in error.what


def test_a_password_in_the_base_is_refused_in_the_overlay_too(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", f"# postgres://app:{SECRET}@db\n{DATABASE}")
    error = refused(write(tmp_path / "over.toml", 'extends = "base"\n'))
    assert error.where == f"{tmp_path}/base.toml: line 1"


@pytest.mark.parametrize("key", ["url", "dsn", "password"])
def test_a_key_that_would_hold_a_secret_is_refused_with_the_remedy(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "p.toml", f'[databases.main]\nurl_env = "A"\n{key} = "{SECRET}"\n')
    error = refused(path)
    assert error.where == f"{path}: databases.main.{key}"
    assert "url_env" in error.hint
    assert "url_secret" in error.hint


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("soak = 1.0\n", "databases", "it is missing"),
        ("[databases]\n", "databases", "at least 1 item"),
        ('name = ""\n' + DATABASE, "name", "at least 1 character"),
        (f"soak = nan\n{DATABASE}", "soak", "finite number"),
        (f"approval_wait = inf\n{DATABASE}", "approval_wait", "finite number"),
        (f"soak = 07:30:00\n{DATABASE}", "soak", "a date or a time"),
        (f'{DATABASE}[runner]\ndask_address = "tcp://h:8786"\n', "runner", "no effect on threads"),
        ('[databases.main]\nurl_env = "NOT A NAME"\n', "databases.main.url_env", "form that is asked for"),
        (
            '[databases.main]\nurl_secret = "Not_A_Block"\n',
            "databases.main.url_secret",
            "form that is asked for",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path: Path, text: str, where: str, reason: str) -> None:
    error = refused(write(tmp_path / "p.toml", text))
    assert error.where == f"{tmp_path}/p.toml: {where}"
    assert reason in error.what


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "not TOML" in refused(write(tmp_path / "a.toml", "a = = 1\n")).what
    (tmp_path / "b.toml").write_bytes(b'name = "\xff"\n')
    assert "not UTF-8" in refused(tmp_path / "b.toml").what


# Where the URL comes from.


def profile_of(database: Database) -> Profile:
    return Profile(name="test", databases={"main": database})


def unresolved(profile: Profile, name: str = "main") -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        resolve_url(profile, name)
    return caught.value


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("SOME_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_URL", value)
    error = unresolved(profile_of(Database(url_env="SOME_URL")))
    assert error.what == "the environment variable SOME_URL is not set"
    assert error.where == "profile test, databases.main"


def test_a_database_without_a_place_for_its_url_is_refused() -> None:
    assert "nothing says where the URL is" in unresolved(profile_of(Database())).what


def test_an_unknown_database_names_the_nearest() -> None:
    profile = profile_of(Database(url_env="SOME_URL"))
    assert unresolved(profile, "mian").hint == "Did you mean main?"
    assert unresolved(profile, "zzz").hint == "Use one of: main."


def test_loading_does_not_import_prefect() -> None:
    code = "import sys; from profiles.loader import load; load('production'); sys.exit('prefect' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


BLOCKS = f"""
import os
from prefect.blocks.system import Secret
from prefect.settings import get_current_settings
from profiles.loader import resolve_url
from profiles.model import Database, Profile
from tasks.model.errors import ProfileError

assert get_current_settings().server.ephemeral.startup_timeout_seconds == 120
Secret(value="postgresql://u:{SECRET}@h/db").save("the-url")
Secret(value={{"user": "u", "password": "{SECRET}"}}).save("not-text")
both = Database(url_env="SOME_URL", url_secret="the-url")
missing, dictionary = Database(url_secret="no-such"), Database(url_secret="not-text")
databases = {{"both": both, "missing": missing, "dict": dictionary}}
profile = Profile(name="test", databases=databases)
assert resolve_url(profile, "both").get_secret_value() == "postgresql://u:{SECRET}@h/db"
for name in ("missing", "dict"):
    try:
        resolve_url(profile, name)
    except ProfileError as error:
        print(error)
os.environ["SOME_URL"] = "from the environment"
assert resolve_url(profile, "both").get_secret_value() == "from the environment"
"""


def prefect_environment(home: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return {**kept, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", **more}


@pytest.mark.slow
@pytest.mark.every_leg
def test_a_secret_block_gives_the_url_on_the_server_of_our_own_prefect_profile(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS],
        cwd=ROOT,
        env=prefect_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "the Prefect Secret block no-such could not be read (ValueError)" in done.stdout
    assert "the Prefect Secret block not-text could not be read (it does not hold text)" in done.stdout
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("profile", "ephemeral"), [("local", True), ("production", False), *([("staging", False)] if EVERY_LEG else [])]
)
def test_only_the_local_prefect_profile_starts_a_server(tmp_path: Path, profile: str, ephemeral: bool) -> None:
    code = (
        "from prefect.settings import get_current_settings as s;"
        "print(s().server.ephemeral.enabled, s().api.url, s().server.analytics_enabled)"
    )
    environment = prefect_environment(tmp_path, PREFECT_PROFILE=profile)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(ephemeral), "None", "False"]
