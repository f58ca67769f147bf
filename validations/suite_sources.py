"""Where a user's suite comes from: `SOURCE@TABLE`, read and loaded."""

import importlib
import inspect
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class SuiteError(Exception):
    """A suite that cannot be evaluated as a whole. The message holds no secret and no value of a row."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A suite, and the table that it is evaluated on."""

    source: str
    schema: str
    """Empty: `search_path` decides."""
    table: str

    @property
    def is_file(self) -> bool:
        """True for a suite in JSON, false for a function."""
        return self.source.endswith(".json")


def names_table(reference: str) -> bool:
    """Tell whether a reference says which table it is for."""
    return not (reference.endswith(".json") or _FUNCTION.fullmatch(reference))


def parse(reference: str) -> Reference:
    """Read `SOURCE@TABLE`. Raises SuiteError."""
    if not names_table(reference):
        raise SuiteError("it names no table, and the migration changes several: append @schema.table")
    source, _, relation = reference.rpartition("@")
    if not (source.endswith(".json") or _FUNCTION.fullmatch(source)):
        raise SuiteError("it is neither package.module:function@schema.table nor path/to/suite.json@schema.table")
    schema, _, table = relation.rpartition(".")
    if not table:
        raise SuiteError("it names no table: append schema.table after the @")
    return Reference(source=source, schema=schema, table=table)


def load(reference: Reference, arguments: Mapping[str, object], engine: str) -> "ExpectationSuite":
    """Build the suite. Needs a current Great Expectations context. Raises SuiteError.

    A function is called with the arguments, and with the engine if it has a parameter `engine`.
    """
    from great_expectations import ExpectationSuite  # noqa: PLC0415 - takes seconds

    with _dropped() as dropped:
        suite = (
            _from_file(reference.source) if reference.is_file else _from_function(reference.source, arguments, engine)
        )
    if dropped:
        raise SuiteError(f"{len(dropped)} of its expectations are not valid")
    if not isinstance(suite, ExpectationSuite):
        raise SuiteError(f"it gave {_an(type(suite).__name__)}, not a Great Expectations ExpectationSuite")
    if not suite.expectations:
        raise SuiteError("the suite is empty: it has no expectation")
    return suite


@contextmanager
def _dropped() -> Iterator[list[logging.LogRecord]]:
    """Collect what Great Expectations logs when it goes on without an expectation that is not valid."""
    dropped: list[logging.LogRecord] = []
    collector = logging.Handler(logging.ERROR)
    collector.emit = dropped.append  # type: ignore[assignment,method-assign]
    log = logging.getLogger("great_expectations.core.expectation_suite")
    log.addHandler(collector)
    try:
        yield dropped
    finally:
        log.removeHandler(collector)


def _an(word: str) -> str:
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


def _from_function(source: str, arguments: Mapping[str, object], engine: str) -> Any:
    module_name, _, name = source.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SuiteError(f"there is no module {error.name}: is its folder on PYTHONPATH?") from None
    except Exception as error:  # noqa: BLE001 - the module is the user's: it may raise anything
        raise SuiteError(f"importing {module_name} raised {type(error).__name__}") from None
    function = getattr(module, name, None)
    if function is None:
        raise SuiteError(f"the module {module_name} has no {name}")
    if not callable(function):
        raise SuiteError(f"{name} of {module_name} is {_an(type(function).__name__)}, not a function")
    try:
        told = {"engine": engine} if "engine" in inspect.signature(function).parameters else {}
        return function(**told | dict(arguments))
    except Exception as error:  # noqa: BLE001 - the function is the user's: it may raise anything
        raise SuiteError(f"calling {source}({', '.join(arguments)}) raised {type(error).__name__}") from None


def _from_file(path: str) -> "ExpectationSuite":
    from great_expectations import ExpectationSuite  # noqa: PLC0415 - takes seconds

    document = _read(path)
    if not isinstance(document.get("expectations"), list):
        raise SuiteError("the file has no list of expectations: is it a suite of Great Expectations 1?")
    try:
        return ExpectationSuite(**document)
    except Exception as error:  # noqa: BLE001 - Great Expectations raises many kinds for a file that is wrong
        raise SuiteError(f"Great Expectations refused the file with {type(error).__name__}") from None


def _read(path: str) -> Mapping[str, Any]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SuiteError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise SuiteError("the file is not JSON") from None
    if not isinstance(document, Mapping):
        raise SuiteError("the file holds no JSON object")
    return document
