"""Every type of BSON, to its edges: into MariaDB and back it is the same to the byte, or refused as declared."""

from collections.abc import Iterator
from typing import Any

import bson
import pytest
from pymongo.database import Database

from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.document import documents as documents_of
from tasks.engines.mongodb.documents.expressions import EXACT, from_text
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.reading import Reading
from tasks.engines.mysql.as_documents import rows
from tasks.engines.mysql.planning.transfer_documents import plan_documents
from tasks.engines.mysql.receiving.compare import compare
from tasks.engines.mysql.receiving.load import Taking
from tasks.engines.mysql.receiving.place import make
from tasks.engines.mysql.session import MariaSession, connect
from tasks.engines.receiving.load import write
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import DocumentTransfer, RowTransfer
from tests.integration.test_bson_there_and_back import OID, OTHER, REFUSED, SAME, number

HELD = {
    "integer": "int", "bigint": "bigint", "double precision": "double", "numeric": "decimal(65, 30)",
    "text": "longtext", "boolean": "tinyint(1)", "timestamptz": "datetime(3)", "bytea": "longblob", "uuid": "uuid",
    "json": "json", "jsonb": "json",
}  # fmt: skip
"""By the types of PostgreSQL that hold the same."""
MORE = {"text": ['"a\\u0000b"', '"\'"'], "timestamptz": [f'{{"$date": {number("Long", "253402300799999")}}}']}
BACK = {"tinyint(1)": "boolean", "datetime(3)": "date", "json": "extended_json"}
"""The `type` of a field that is made of one of ours again."""
NOT: dict[tuple[str, str], str] = {
    **{("double precision", number("Double", text)): "minus zero" if text == "-0.0" else "infinity"
       for text in ("-0.0", "NaN", "Infinity", "-Infinity")},
    **{("numeric", number("Decimal", text)): "not a number" if text == "NaN" else "infinity"
       for text in ("NaN", "Infinity", "-Infinity")},
    **{("numeric", number("Decimal", text)): "after the point"
       for text in ("1E-6176", "-1.5E-6000", "0.1234567890123456789012345678901234")},
    **{("timestamptz", f'{{"$date": {number("Long", text)}}}'): "years"
       for text in ("253402300800000", "-210866803200000", "9224318015999999")},
    **{(written, text): reason for text, (written, reason) in REFUSED.items() if text != '"a\\u0000b"'},
    ("timestamptz", f'{{"$date": {number("Long", "9224318016000000")}}}'): "years",
}  # fmt: skip
"""What MariaDB does not hold, by the type that would, with the reason."""


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with connected(documents, name="test") as database:
        yield database


@pytest.fixture
def conn(maria_database: str) -> Iterator[MariaSession]:
    with connect(maria_database) as conn:
        yield conn


def read(source: Database[Any], **columns: Any) -> RowTransfer:
    """Plan the way into MariaDB."""
    transfer = {"collection": "c", "to": {"database": "rows", "table": "t"}, "columns": columns}
    spec = {"migration": "m", "database": "shop", "strategy": "cross_database", "transfer": transfer}
    plan = plan_rows(source, MigrationSpec.model_validate(spec), "mariadb")
    return next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))


def back(conn: MariaSession, **fields: Any) -> DocumentTransfer:
    """Plan the way into MongoDB."""
    transfer = {"table": "t", "to": {"database": "shop", "collection": "back"}, "fields": fields}
    spec = MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})
    return next(one.action for one in plan_documents(conn, spec).steps if isinstance(one.action, DocumentTransfer))


def test_what_has_a_place_comes_back_to_the_byte(source: Database[Any], conn: MariaSession) -> None:
    """One document with all values, a column each; of a decimal there is the number, with other zeros."""
    cases = [(written, text, text) for written, texts in (*SAME.items(), *MORE.items()) for text in texts]
    cases += [(written, text, text if written == "jsonb" else then) for text, (written, then) in OTHER.items()]
    cases = [one for one in cases if one[:2] not in NOT]
    identity = from_text(OID)
    source.c.insert_one({"_id": identity, **{f"f{n}": from_text(text) for n, (_, text, _) in enumerate(cases)}})
    source.c.insert_one({"_id": bson.ObjectId()})
    columns: dict[str, Any] = {}
    fields: dict[str, Any] = {"_id": {"column": "_id", "type": "objectId"}}
    held_in = list[str]()
    for n, (written, text, _) in enumerate(cases):
        held_in.append(held := "varchar(24)" if text == OID else HELD[written])
        columns[f"f{n}"] = {"nulls": "missing", **({"type": held, "unfit": "tag"} if held == "json" else {})}
        if written == "numeric":
            # With all zeros that the type has, it may be more than a decimal of BSON holds.
            continue
        fields[f"f{n}"] = {"column": f"f{n}", "nulls": "missing"}
        if asked := "objectId" if text == OID else BACK.get(held):
            fields[f"f{n}"]["type"] = asked
    action = read(source, **columns)
    assert [one.type for one in action.columns] == ["varchar(24)", *held_in]
    make(conn, action.into, 1)
    reading = Reading(source)
    with conn.transaction():
        write(Taking(conn, action, action.into.staged), reading.lines(action, None, None))
    assert compare(conn, reading, action, action.into.staged).equal
    conn.execute(f"rename table {action.into.staged} to t")
    again = back(conn, **fields)
    made = list(documents_of(again, rows(conn, again, None, None)))
    assert not [one for one in made if one.touched]
    (first,) = [one for one in made if one.identity == identity]
    found = bson.decode(first.document, EXACT)
    for n, (written, text, then) in enumerate(cases):
        wanted = from_text(then)
        if written == "numeric":
            ((value,),) = conn.execute(f"select f{n} from t where f{n} is not null").fetchall()
            assert value == wanted.to_decimal(), text
        else:
            assert bson.encode({"v": found[f"f{n}"]}) == bson.encode({"v": wanted}), (text, then)


def test_what_has_none_is_left_out_with_the_reason(source: Database[Any]) -> None:
    """A column each, and nothing of that document is copied."""
    columns: dict[str, Any] = {}
    document: dict[str, Any] = {"_id": 1}
    for n, (written, text) in enumerate(NOT):
        document[f"f{n}"] = from_text(text)
        tagged = written == "json" and text != OID
        columns[f"f{n}"] = {"type": HELD[written], "unfit": "tag" if tagged else "reject", "nulls": "both"}
    source.c.insert_one(document)
    (line,) = Reading(source).lines(read(source, **columns), None, None)
    assert (line.line, [one.field for one in line.touched]) == (b"", list(columns))
    for one, reason in zip(line.touched, NOT.values(), strict=True):
        assert reason in one.reason
