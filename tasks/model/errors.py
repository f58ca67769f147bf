"""Everything that can go wrong, as a tree.

ChangeoverError
├── Refused                 nothing changed; the user must change something           exit code 2
│   ├── SpecError             the spec is wrong: file, line, reason
│   ├── ProfileError          the profile is wrong or incomplete
│   ├── PreflightError        the database cannot take this change now
│   ├── DriftError            the catalogue moved since the plan was made
│   ├── ConcurrentRunError    another run holds the table
│   └── StateError            the migration is not in a state that allows this
├── Paused                  stopped cleanly at a boundary; run again to go on         exit code 3
├── GateError               a gate failed or could not be evaluated                   exit code 1
├── StepError               a step failed and will fail again                         exit code 1
├── TransientError          a step failed for a passing reason and retries ran out    exit code 1
│   └── LockTimeoutError      a lock could not be had within budget and attempts
├── FencedError             a newer run has taken over; this one must stop            exit code 1
└── AuditError              the audit log does not verify                             exit code 1

Each error tells what happened, where, what to do, whether trying again can help, what became of the
data, and who has to act. The message never contains a secret or a row value.
"""

from enum import StrEnum
from typing import ClassVar


class DataChanged(StrEnum):
    """What became of the user's data and catalogue when the error left Changeover."""

    NO = "nothing changed"
    ROLLED_BACK = "rolled back"
    PARTIALLY = "partially applied"
    UNKNOWN = "outcome unknown, do not retry"


class Actor(StrEnum):
    """Who can remove the cause."""

    AUTHOR = "the author of the spec"
    OPERATOR = "the operator of the run"
    ADMINISTRATOR = "the database administrator"
    NOBODY = "nobody: it passes by itself"


class ChangeoverError(Exception):
    """An error with a remedy.

    `what` is a sentence without a final full stop, `where` names file and line, table, or step,
    `hint` is an imperative sentence.
    """

    code: ClassVar[str] = "CHANGEOVER"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    actor: ClassVar[Actor] = Actor.OPERATOR

    def __init__(self, what: str, *, where: str = "", hint: str = "", changed: DataChanged = DataChanged.NO):
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.changed = changed

    def __str__(self) -> str:
        parts = [f"[{self.code}] {self.what}"]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.hint:
            parts.append(f"  hint:  {self.hint}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Tasks run in other threads and, with Dask, in other processes: the error has to arrive whole.
        return (_rebuild, (type(self), self.__dict__.copy()))


def _rebuild(kind: type[ChangeoverError], state: dict[str, object]) -> ChangeoverError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["what"])
    error.__dict__.update(state)
    return error


class Refused(ChangeoverError):  # noqa: N818 - the words of the command line
    """The request cannot be carried out as it stands; nothing was changed."""

    code = "REFUSED"
    exit_code = 2


class SpecError(Refused):
    """The spec is wrong."""

    code = "SPEC"
    actor = Actor.AUTHOR


class ProfileError(Refused):
    """The profile is wrong or incomplete."""

    code = "PROFILE"


class PreflightError(Refused):
    """The database cannot take this change now."""

    code = "PREFLIGHT"
    actor = Actor.ADMINISTRATOR


class DriftError(Refused):
    """The catalogue is not the one that the plan was made for."""

    code = "DRIFT"


class ConcurrentRunError(Refused):
    """Another run holds one of the tables."""

    code = "CONCURRENT"


class StateError(Refused):
    """The migration is not in a state that allows this."""

    code = "STATE"


class Paused(ChangeoverError):  # noqa: N818 - the words of the command line
    """The run stopped cleanly at a boundary, and goes on from there when it is run again."""

    code = "PAUSED"
    exit_code = 3
    retryable = True
    report: object | None = None
    """What had been done by then (a `tasks.model.status.Report`), once the ledger has been asked."""


class GateError(ChangeoverError):
    """A gate failed, or could not be evaluated, which is the same."""

    code = "GATE"
    actor = Actor.AUTHOR


class StepError(ChangeoverError):
    """A step failed, and would fail again."""

    code = "STEP"


class TransientError(ChangeoverError):
    """A step failed for a passing reason more often than the profile allows."""

    code = "TRANSIENT"
    retryable = True
    actor = Actor.NOBODY


class LockTimeoutError(TransientError):
    """A lock could not be had within the budget and the allowed attempts."""

    code = "LOCK"


class FencedError(ChangeoverError):
    """A newer run has taken over this migration; this one must stop and change nothing more."""

    code = "FENCED"


class AuditError(ChangeoverError):
    """The audit log does not verify."""

    code = "AUDIT"
    actor = Actor.ADMINISTRATOR
