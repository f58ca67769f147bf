"""How Prefect runs within a command: quiet, offline, and with a server of its own when none is named.

Has to be called before anything imports prefect, which reads the environment on import.
"""

import os

_ALWAYS = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
# A cold start takes 8 to 13 seconds on a small machine, and the default limit is 20.
_OWN_SERVER = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
# Only the console: the run's page in Prefect keeps every line. CRITICAL, because Prefect logs the traceback of
# a failed flow as an error, and our own message follows.
_QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}


def prepare(*, verbose: bool) -> None:
    """Set what is not set already; whoever names a server or a profile of Prefect keeps it."""
    wanted = dict(_ALWAYS)
    if not os.environ.get("PREFECT_API_URL") and not os.environ.get("PREFECT_PROFILE"):
        wanted |= _OWN_SERVER
    if not verbose:
        wanted |= _QUIET
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
