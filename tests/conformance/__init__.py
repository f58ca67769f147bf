"""Every operation on every kind of table: there, back, there again, and the old shape gone for good."""

import pytest

pytest.register_assert_rewrite("tests.conformance.cycle", "tests.conformance.drive")
