"""A Great Expectations context for one evaluation: silent, in memory, and closed at the end."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from validations.deferred import put_off

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext

# Great Expectations keeps the current context in a global variable, and warnings and log levels are global
# too: in one process, one gate at a time.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def context() -> Iterator["EphemeralDataContext"]:
    """Open an ephemeral context; whatever context was current before is current again afterwards."""
    with _ONE_AT_A_TIME, _silence():
        # What two of its expectations need, and 80 MB: imported when a suite has one of them.
        with put_off("scipy.stats", "altair"):
            import great_expectations as gx  # noqa: PLC0415 - takes seconds
        from great_expectations.data_context.data_context.context_factory import (  # noqa: PLC0415
            project_manager,
        )
        from great_expectations.data_context.types.base import (  # noqa: PLC0415
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )
        from great_expectations.exceptions.exceptions import DataContextRequiredError  # noqa: PLC0415

        try:
            previous = project_manager.get_current_project()
        except DataContextRequiredError:
            previous = None
        configuration = DataContextConfig(
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        )
        try:
            yield gx.get_context(mode="ephemeral", project_config=configuration)
        finally:
            project_manager.set_project(previous)


@contextmanager
def _silence() -> Iterator[None]:
    # Its log repeats errors of the database with the values in them.
    log = logging.getLogger("great_expectations")
    propagate, nowhere = log.propagate, logging.NullHandler()
    log.propagate = False
    log.addHandler(nowhere)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"great_expectations(\.|\Z)")
            yield
    finally:
        log.removeHandler(nowhere)
        log.propagate = propagate
