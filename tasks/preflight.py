"""preflight: is this the right moment, the right role, the right database?"""

from tasks.boundary import Boundary
from tasks.model.errors import PreflightError
from tasks.prefect_task import verb
from tasks.run import Run, say


@verb("preflight")
def preflight(run: Run) -> int:
    """Check everything that can be checked before anything changes; raise PreflightError on errors.

    A closed window stops the run as paused. Takes no lock but ACCESS SHARE. Returns how many findings there are.
    """
    with Boundary(run) as boundary:
        boundary.check()
    run.engine.check()
    findings = (*run.plan.findings, *run.engine.preflight(run.plan))
    for finding in findings:
        say(f"{finding.severity}: {finding.message}")
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise PreflightError(
            "; ".join(finding.message for finding in errors),
            where=", ".join(dict.fromkeys(finding.where for finding in errors)),
            hint=errors[0].hint,
        )
    return len(findings)
