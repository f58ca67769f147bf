"""What Great Expectations says of one expectation, in one line, without values unless they are allowed."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from validations.failures import describe, trouble

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult as Validated
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

_LONGEST_VALUE = 100
_LONGEST_MESSAGE = 300
_MISSING_COLUMN = re.compile(r'The column ("[^\n]*") in BatchData does not exist')


def configuration(validated: "Validated") -> "ExpectationConfiguration":
    """Return the configuration that a result is about; there always is one."""
    config = validated.expectation_config
    assert config is not None
    return config


def title(validated: "Validated") -> str:
    """Name an expectation by its type and its columns."""
    config = configuration(validated)
    columns = [config.kwargs[name] for name in ("column", "column_A", "column_B") if name in config.kwargs]
    columns += config.kwargs.get("column_list") or config.kwargs.get("column_set") or []
    return f"{config.type} ({', '.join(map(str, columns))})" if columns else config.type


def exception_messages(validated: "Validated") -> tuple[str, ...]:
    """Return what was raised: directly, or metric by metric."""
    found = validated.exception_info or {}
    each = [found] if "raised_exception" in found else list(found.values())
    return tuple(str(one["exception_message"]) for one in each if one["raised_exception"])


def reason(
    validated: "Validated",
    messages: Iterable[str],
    errors: Iterable[BaseException],
    *,
    values_in_reports: bool,
) -> str:
    """Say why an expectation could not be evaluated.

    `errors` are those of the database so far: the text that Great Expectations keeps is traced back to one.
    """
    own = json.dumps(configuration(validated).kwargs, default=str, ensure_ascii=False)
    for message in messages:
        if missing := _MISSING_COLUMN.search(message):
            return f"the column {missing[1]} does not exist"
        for error in errors:
            if str(error) in message and (cause := trouble(error)):
                return describe(cause, own=own, values_in_reports=values_in_reports)
        if values_in_reports:
            return " ".join(message.split())[:_LONGEST_MESSAGE]
    return "Great Expectations raised an exception; evaluate the suite by hand to see it"


def finding(validated: "Validated", result: Mapping[str, Any], *, values_in_reports: bool) -> tuple[int, str]:
    """Return how much is unexpected where an expectation failed, 0 if that is not a number, and a message."""
    observed = result.get("observed_value")
    if configuration(validated).type == "unexpected_rows_expectation" and observed is not None:
        return int(observed), f"{observed:,} unexpected rows"
    if "unexpected_count" in result:
        unexpected = int(result["unexpected_count"])
        message = f"{unexpected:,} of {result['element_count']:,} values are unexpected"
        values = result.get("partial_unexpected_list") or []
        if values_in_reports and values:
            message += f", for example {', '.join(repr(value)[:_LONGEST_VALUE] for value in values)}"
        return unexpected, message
    if values_in_reports and observed is not None:
        return 0, f"does not hold: observed {observed!r}"[:_LONGEST_MESSAGE]
    return 0, "does not hold"
