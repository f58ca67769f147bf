"""Evaluate the user's own Great Expectations suites.

A gate names a suite as `SOURCE@TABLE`:

- SOURCE is `package.module:function`, a function that returns an `ExpectationSuite`, called with the arguments that
  the spec gives, and with `engine`, `postgresql` or `mariadb`, if it has a parameter of that name; or the path, ending
  in `.json` and relative to the working directory, of a suite as `json.dumps(suite.to_json_dict())` writes it;
- TABLE is `schema.table` or `table`, as the catalogue holds it, without quotes; a schema of MariaDB is a database.

Great Expectations calls an empty suite, and any suite on an empty table, a success. Here both have failed, as
has a suite of which an expectation was lost or could not be evaluated. The `severity` of an expectation does
not matter: one that fails fails the gate.
"""

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from tasks.model.spec import BoundSuite
from tasks.model.status import CheckResult
from validations.context import context
from validations.data_source import DataSource
from validations.evaluation import why_not
from validations.one_pass import ROWS, rows_expectation
from validations.suite_findings import configuration, exception_messages, finding, reason, title
from validations.suite_sources import Reference, SuiteError, load, parse

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationValidationResult as Validated
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource

_EXAMPLES = 10


def evaluate_suite(
    reference: str | BoundSuite, source: DataSource, *, values_in_reports: bool
) -> tuple[CheckResult, ...]:
    """Evaluate one suite, and return a result for each of its expectations.

    When the suite as a whole cannot be evaluated there is one failed result, named like the reference. Locks:
    ACCESS SHARE. The expectations do not share a snapshot.
    """
    name = reference if isinstance(reference, str) else reference.suite
    arguments = {} if isinstance(reference, str) else reference.arguments
    try:
        named = parse(name)
        return _Evaluation(named, arguments, source.of_table(named), values_in_reports).results()
    except SuiteError as error:
        cause = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, a gate that cannot be evaluated has failed
        cause = why_not(error)
    message = f"could not be evaluated: {cause}"
    return (CheckResult(name=name, passed=False, evaluated=False, message=message),)


def _counted(suite: "ExpectationSuite") -> "ExpectationSuite":
    """Return a suite that counts the rows, too, so that no pass of its own need do so."""
    from great_expectations import ExpectationSuite  # noqa: PLC0415 - takes seconds

    return ExpectationSuite(name=suite.name, expectations=[*suite.expectations, rows_expectation()(min_value=1)])


def _counts(validated: "Validated") -> bool:
    return configuration(validated).type == ROWS


class _Evaluation:
    """One suite on one table."""

    def __init__(
        self, named: Reference, arguments: Mapping[str, object], source: DataSource, values_in_reports: bool
    ) -> None:
        self.named = named
        self.arguments = arguments
        self.source = source
        self.values_in_reports = values_in_reports
        self.errors: list[BaseException] = []

    def results(self) -> tuple[CheckResult, ...]:
        started = perf_counter()
        with context() as current:
            # Only now: a suite can be built only while a context is current.
            suite = load(self.named, self.arguments, self.source.engine)
            with self.source.datasource(current, self.errors) as source:
                batch = self._batch(source)
                validated = batch.validate(_counted(suite), result_format="BOOLEAN_ONLY").results
                rows = self._rows([one for one in validated if _counts(one)])
                checked = [self._checked(batch, suite.name, one, rows) for one in validated if not _counts(one)]
        expected = len(suite.expectations)
        if len(checked) != expected:
            raise SuiteError(f"{len(checked)} of {expected} expectations were evaluated")
        seconds = (perf_counter() - started) / expected
        return tuple(result.model_copy(update={"seconds": seconds}) for result in checked)

    def _batch(self, source: "SQLDatasource") -> "Batch":
        from sqlalchemy.sql import quoted_name  # noqa: PLC0415 - with Great Expectations, which takes seconds

        asset = source.add_table_asset("table", quoted_name(self.named.table, quote=True))
        return asset.add_batch_definition_whole_table("whole").get_batch()

    def _rows(self, counts: "Sequence[Validated]") -> int:
        if len(counts) != 1:
            raise SuiteError("Great Expectations did not count the rows")
        if messages := exception_messages(counts[0]):
            raise SuiteError(self._reason(counts[0], messages))
        rows: int = counts[0].result["observed_value"]
        if rows == 0:
            raise SuiteError("the table is empty, so the suite proves nothing")
        return rows

    def _checked(self, batch: "Batch", suite: str, validated: "Validated", rows: int) -> CheckResult:
        name = f"{suite}: {title(validated)}"
        if messages := exception_messages(validated):
            message = f"could not be evaluated: {self._reason(validated, messages)}"
            return CheckResult(name=name, passed=False, evaluated=False, message=message)
        if validated.success:
            message = f"holds in a table of {rows:,} rows"
            return CheckResult(name=name, passed=True, evaluated=True, message=message)
        # Once more, for the numbers: most suites pass, and they are spared the work.
        again = batch.validate(
            configuration(validated).to_domain_obj(),
            result_format={
                "result_format": "BASIC",
                "partial_unexpected_count": _EXAMPLES if self.values_in_reports else 0,
            },
        )
        unexpected, message = finding(validated, again.result or {}, values_in_reports=self.values_in_reports)
        return CheckResult(name=name, passed=False, evaluated=True, unexpected=unexpected, message=message)

    def _reason(self, validated: "Validated", messages: Iterable[str]) -> str:
        return reason(validated, messages, self.errors, values_in_reports=self.values_in_reports)
