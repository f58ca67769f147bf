"""What a test needs of the machine and does not find there."""

import os
from typing import NoReturn

import pytest


def missing(message: str) -> NoReturn:
    """Skip the test; in CI, where everything is there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
