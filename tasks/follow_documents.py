"""follow documents: keep both shapes in step for as long as the context lasts, by the change stream."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.boundary import Boundary
from tasks.engines.session import Session
from tasks.engines.translate import in_our_words
from tasks.ledger.fencing import fence
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.ledger.state import summary
from tasks.model.document_steps import Rebuild, Reshape
from tasks.model.errors import ChangeoverError, StepError, TransientError
from tasks.model.status import MigrationState
from tasks.model.steps import Phase, Step
from tasks.run import Run, say

if TYPE_CHECKING:
    from bson import Timestamp

    from tasks.engines.mongodb.documents.engine import MongoEngine
    from tasks.engines.mongodb.documents.pipelines import Prefer

STREAM = "stream"
"""The name under which the ledger keeps the position in the change stream."""
_NEW = (MigrationState.SWAPPED, MigrationState.COMPLETE, MigrationState.CONTRACTING)


def remember(run: Run, step: Step) -> Callable[[Session], None] | None:
    """Return what keeps the present position of a change stream, where a step is about one; taken before the step."""
    action = step.action
    if not (isinstance(action, Reshape) and action.does == "follow"):
        return None
    position = _engine(run).position(action)

    def keep(conn: Session) -> None:
        save_snapshot(conn, run.migration, STREAM, {"position": position}, replace=True)

    return keep


class Nothing:
    """What there is to wait for where triggers keep both shapes in step."""

    def catch_up(self) -> None:
        """Return at once."""

    def require(self) -> None:
        """Return at once."""


@contextmanager
def following(run: Run, *, contracting: bool = False) -> "Iterator[Follower | Nothing]":
    """Follow the change stream beside whatever is done, from where the ledger says; nothing where there is none.

    A document is brought into step when it was written, by an update that reads it itself. Nothing is followed into
    what is going to be dropped as a whole, when `contracting`. Raises, at the end, what has stopped it; the gates find
    what it has not done. Locks: none.
    """
    followed = (one.action for one in run.plan.phase(Phase.DUAL_WRITE))
    action = next((one for one in followed if isinstance(one, Reshape | Rebuild)), None)
    if action is None or (contracting and isinstance(action, Rebuild)):
        yield Nothing()
        return
    follower = Follower(run, action)
    if isinstance(action, Rebuild):
        with in_our_words(action.table):
            _engine(run).retrying()(follower.prepare, action)
    follower.start()
    try:
        yield follower
    except BaseException:
        follower.end()
        raise
    follower.end()
    if follower.error is not None:
        raise follower.error


class Follower(threading.Thread):
    """The thread that follows. Its sessions are those of the run, and end with it."""

    def __init__(self, run: Run, action: Reshape | Rebuild) -> None:
        super().__init__(name=f"follow {action.collection}", daemon=True)
        self.held = run
        self.action = action
        self.error: ChangeoverError | None = None
        self._ended = threading.Event()
        self._reached: Timestamp | None = None
        self._place = ""
        self._goes_well = False

    def prepare(self, action: Rebuild) -> None:
        """End what a run before this one has left behind of a swap."""
        with self.held.ledger("follow") as conn:
            _engine(self.held).prepare(action, lambda: self._fenced(conn))

    def catch_up(self) -> None:
        """Wait until all that has been written so far is in step; raises Paused at a boundary, and what has stopped it.

        After a backfill of many documents there is as much to look at again.
        """
        wanted = _engine(self.held).moment()
        with Boundary(self.held) as boundary:
            while self._reached is None or self._reached < wanted:
                boundary.check()
                self.require()
                time.sleep(0.05)

    def require(self) -> None:
        """Raise what has stopped it, where it does not follow any more."""
        if not self.is_alive():
            raise self.error or StepError(f"{self.action.collection} is no longer followed")

    def _told(self, moment: "Timestamp") -> None:
        # Of a rebuild it is told when all before it is carried, and not how far it goes on from.
        self._goes_well = self._goes_well or (isinstance(self.action, Rebuild) and self._reached != moment)
        self._reached = moment

    def end(self) -> None:
        """Let it bring into step what it sees, and wait for it."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Follow until the end, on new sessions after what passes by itself."""
        try:
            with in_our_words(self.action.table):
                self._keep_following()
        except ChangeoverError as error:
            self.error = error
            say(f"{self.action.collection} is no longer followed: {error.what}")
        except Exception as error:  # noqa: BLE001 - the run has to hear of it, whatever it is
            self.error = StepError(f"the change stream is no longer followed: {type(error).__name__}")
            say(self.error.what)

    def _keep_following(self) -> None:
        """Begin the tries anew once something has been dealt with: a soak lasts for days, and failures come and go."""
        while True:
            self._goes_well = False
            try:
                return self.held.engine.retrying(self._again)(self._follow)
            except TransientError:
                if not self._goes_well:
                    raise

    def _again(self, error: BaseException, tries: int, seconds: float) -> None:
        say(f"{self.action.collection} is followed again in {seconds:.1f} s: try {tries}, {type(error).__name__}")

    def _follow(self) -> None:
        from tasks.engines.mongodb.documents.stream import ForgottenError  # noqa: PLC0415 - loads the driver

        engine, action = _engine(self.held), self.action
        with self.held.ledger("follow") as conn:
            if isinstance(action, Rebuild):
                engine.follow_rebuilt(action, lambda: self._fenced(conn), self._goes_on, self._told, say)
                return
            while True:
                kept = load_snapshot(conn, self.held.migration, STREAM)
                assert kept is not None, "dual write keeps the position"
                try:
                    self._place = kept["position"]
                    engine.follow(action, self._place, lambda: self._begun(conn), self._goes_on, self._told, say)
                except ForgottenError:
                    self._start_anew(engine, action, conn)
                else:
                    return

    def _start_anew(self, engine: "MongoEngine", action: Reshape, conn: Session) -> None:
        say(f"the server has forgotten some changes of {action.collection}: all documents are gone over")
        position = engine.position(action)
        engine.go_over(action, self._prefer(conn), lambda: self._fenced(conn), say)
        with self._fenced(conn):
            save_snapshot(conn, self.held.migration, STREAM, {"position": position}, replace=True)

    def _goes_on(self) -> bool:
        return not self._ended.is_set()

    def _prefer(self, conn: Session) -> "Prefer":
        return "new" if summary(conn, self.held.migration).state in _NEW else "old"

    @contextmanager
    def _fenced(self, conn: Session) -> Iterator[None]:
        with conn.transaction():
            fence(conn, self.held.migration, self.held.epoch)
            yield

    @contextmanager
    def _begun(self, conn: Session) -> Iterator[tuple["Prefer", Callable[[str], None]]]:
        def keep(position: str) -> None:
            save_snapshot(conn, self.held.migration, STREAM, {"position": position}, replace=True)
            kept.append(position)

        kept = list[str]()
        with self._fenced(conn):
            yield self._prefer(conn), keep
        # The same place again is no progress: a batch that fails for ever comes after it.
        self._goes_well = self._goes_well or kept != [self._place]
        self._place = kept[-1]


def _engine(run: Run) -> "MongoEngine":
    from tasks.engines.mongodb.documents.engine import MongoEngine  # noqa: PLC0415 - loads the driver

    engine = run.engine
    assert isinstance(engine, MongoEngine), "a plan about documents, and a database of another engine"
    return engine
