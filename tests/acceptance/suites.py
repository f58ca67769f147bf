"""Suites that users might write."""

from typing import Any


def nobody_is_called_first7() -> Any:
    """Expect that a certain name does not occur."""
    import great_expectations as gx

    suite = gx.ExpectationSuite(name="names")
    suite.add_expectation(gx.expectations.ExpectColumnValuesToNotBeInSet(column="first", value_set=["First7"]))
    return suite


def nobody_is_called_first_seven() -> Any:
    """The same in small letters."""
    import great_expectations as gx

    suite = gx.ExpectationSuite(name="names")
    suite.add_expectation(gx.expectations.ExpectColumnValuesToNotBeInSet(column="first", value_set=["first7"]))
    return suite
