"""Identifiers: what is a name, how it is quoted, and the names of our own objects."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.model.names import MAX_BYTES, OWN_PREFIX, Identifier, TableName, own_name, quote

IDENTIFIER = TypeAdapter(Identifier)
TABLE = TypeAdapter(TableName)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
ROLES = st.sampled_from(["new", "old", "twin_old", "dual_write"])


def unquote(text: str) -> str:
    assert len(text) >= 2
    assert text[0] == text[-1] == '"'
    # A quote that is not doubled would end the identifier and let the rest of the name be SQL.
    assert '"' not in text[1:-1].replace('""', "")
    return text[1:-1].replace('""', '"')


@given(TEXTS)
@example('"')
@example('""')
@example('a"; drop table users; --')
def test_quoting_loses_nothing_and_lets_nothing_out(name: str) -> None:
    assert unquote(quote(name)) == name


@given(TEXTS, TEXTS)
def test_different_names_stay_different_in_quotes(one: str, other: str) -> None:
    assert (quote(one) == quote(other)) == (one == other)


@given(ROLES, TEXTS)
@example("new", "x" * 63)
@example("new", "é" * 31)
@example("old", "😀" * 20)
def test_own_names_fit_and_are_ours(role: str, base: str) -> None:
    name = own_name(role, base)
    assert len(name.encode()) <= MAX_BYTES
    assert name.startswith(f"{OWN_PREFIX}{role}_")
    assert own_name(role, base) == name


@given(ROLES, TEXTS)
def test_a_base_that_fits_is_left_whole(role: str, base: str) -> None:
    whole = f"{OWN_PREFIX}{role}_{base}"
    assume(len(whole.encode()) <= MAX_BYTES)
    assert own_name(role, base) == whole


@given(ROLES, TEXTS, TEXTS, st.text("aé😀", min_size=45, max_size=60))
def test_long_bases_that_begin_alike_stay_apart(role: str, one: str, other: str, beginning: str) -> None:
    assume(one != other)
    assert own_name(role, beginning + one) != own_name(role, beginning + other)


@given(TEXTS)
def test_roles_stay_apart(base: str) -> None:
    assert own_name("new", base) != own_name("old", base)


@pytest.mark.parametrize("name", ["a", "A b", 'q"', "é" * 31, "x" * 63, "select", "a.b", "1"])
def test_names(name: str) -> None:
    assert IDENTIFIER.validate_python(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "a name cannot be empty"),
        ("a\0b", "U\\+0000"),
        ("x" * 64, "64 bytes long; the database allows 63: shorten it"),
        ("é" * 32, "64 bytes long"),
        ("_changeover_new_c", "kept for Changeover: choose another"),
    ],
)
def test_what_is_no_name(name: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        IDENTIFIER.validate_python(name)
    with pytest.raises(ValidationError, match=reason):
        TABLE.validate_python(f"app.{name}")


@pytest.mark.parametrize("name", ["t", "app.t", "App Data.T"])
def test_tables(name: str) -> None:
    assert TABLE.validate_python(name) == name


@pytest.mark.parametrize("name", [".t", "app.", "."])
def test_what_is_no_table(name: str) -> None:
    with pytest.raises(ValidationError, match="a name cannot be empty"):
        TABLE.validate_python(name)


@given(TEXTS)
def test_every_name_that_is_taken_can_be_quoted_and_fits(name: str) -> None:
    try:
        IDENTIFIER.validate_python(name)
    except ValidationError:
        assert not name or "\0" in name or len(name.encode()) > MAX_BYTES or name.startswith(OWN_PREFIX)
    else:
        assert len(name.encode()) <= MAX_BYTES
        assert "\0" not in name
