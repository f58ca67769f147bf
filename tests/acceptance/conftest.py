"""Fixtures of flows through Prefect."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    """The fresh database of MongoDB; its dates have a zone."""
    with MongoClient(documents, tz_aware=True) as client:
        yield client.get_default_database()
