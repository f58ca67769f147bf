"""What the tests of other tools say must work, walked by ours: as cases of our own, or read from a folder of theirs."""

import pytest

pytest.register_assert_rewrite("tests.conformance.other_tools.localtests")
