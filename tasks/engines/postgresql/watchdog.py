"""End processes and remove folders when this Python is gone, however it went.

Imported, this file gives `Watchdog`. Run as a script it is the child that watches: it uses the standard
library only, so that it starts in milliseconds and needs no environment.
"""

import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_GRACE = 10.0  # seconds; a postmaster gives its own children five before it kills them


class Watchdog:
    """Guard processes and folders for the life of this Python process.

    The watching child lives in a session of its own, so that neither Ctrl-C nor a signal to our process
    group reaches it. It acts when the pipe closes or its parent changes: also after SIGKILL.
    """

    def __init__(self) -> None:
        self._child = subprocess.Popen(  # noqa: S603 - no shell of the user's, no input of the user's
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the watching child."""
        return self._child.pid

    def folder(self, parent: Path, *, prefix: str, mode: int = 0o700) -> Path:
        """Make a new folder that goes when we go."""
        path = parent / f"{prefix}{secrets.token_hex(8)}"
        # Told first and made second: a kill in between leaves nothing.
        self._tell({"folder": str(path)})
        path.mkdir(mode=0o700)
        path.chmod(mode)
        return path

    def cluster(self, data_dir: Path) -> None:
        """Free the shared memory of this data directory too, if its server ends without doing so."""
        self._tell({"cluster": str(data_dir)})

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        output: IO[bytes],
        environment: Mapping[str, str],
        ending: signal.Signals = signal.SIGKILL,
        account: Mapping[str, Any] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process, leader of its own group, that cannot outlive us.

        `ending` is the signal for its group when we are gone; SIGKILL follows after ten seconds.
        `account` holds the `user`, `group` and `extra_groups` of Popen.
        """
        # The shell waits for a word before it becomes the command. By then the watchdog knows its pid,
        # and if we die earlier the shell reads the end of the file and exits.
        process = subprocess.Popen(  # noqa: S603 - no shell of the user's, no input of the user's
            ["/bin/sh", "-c", 'read go && exec "$@" </dev/null', "sh", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
            **(account or {}),
        )
        assert process.stdin is not None
        with process.stdin as pipe:
            self._tell({"pid": process.pid, "ending": int(ending)})
            pipe.write(b"go\n")
        return process

    def release(self) -> None:
        """End what still runs, remove the folders, and wait until that is done; idempotent."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            self._child.stdin.close()
        self._child.wait()

    def _tell(self, message: dict[str, object]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(message).encode() + b"\n")
        self._child.stdin.flush()


class _Guarded:
    """A process group to end. On Linux a pidfd makes sure that a reused pid is never hit."""

    def __init__(self, pid: int, ending: int) -> None:
        self.pid, self.ending = pid, ending
        self.handle: int | None = None
        self.gone = False
        if sys.platform == "linux":
            try:
                self.handle = os.pidfd_open(pid)
            except ProcessLookupError:
                self.gone = True
            except OSError:
                self.handle = None  # an old kernel, or a sandbox without the call: the pid has to do

    def end(self) -> None:
        if self._ended(0.0):
            return  # long ago perhaps: the number of its group may be another's by now
        for number in (self.ending, signal.SIGKILL):
            self._signal(number)
            self._signal(signal.SIGCONT)
            if self._ended(_GRACE):
                break
        # The leader's own children may take a moment longer; zombies count, so the moment is bounded.
        deadline = time.monotonic() + 0.25
        while self._signal(signal.SIGKILL) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _ended(self, seconds: float) -> bool:
        if self.gone:
            return True
        if self.handle is not None:
            return bool(select.select([self.handle], [], [], seconds)[0])
        deadline = time.monotonic() + seconds
        while True:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)


class _Charge:
    """What the parent has put into our care."""

    def __init__(self) -> None:
        self._groups: list[_Guarded] = []
        self._folders: list[str] = []
        self._clusters: list[str] = []

    def take(self, message: dict[str, Any]) -> None:
        if "folder" in message:
            self._folders.append(message["folder"])
        elif "cluster" in message:
            self._clusters.append(message["cluster"])
        else:
            self._groups.append(_Guarded(message["pid"], message["ending"]))

    def end(self) -> None:
        for group in self._groups:
            group.end()
        for cluster in self._clusters:
            _free_shared_memory(cluster)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def _free_shared_memory(data_dir: str) -> None:
    """Remove the System V segment that a server killed by SIGKILL leaves; the system has only so many."""
    try:
        with open(os.path.join(data_dir, "postmaster.pid"), encoding="utf-8") as lock:
            key, segment = lock.read().splitlines()[6].split()
        # A process that was killed holds it until its memory is gone.
        deadline = time.monotonic() + 3.0
        while (users := _users_of(_signed(int(key)), int(segment))) and time.monotonic() < deadline:
            time.sleep(0.02)
    except (OSError, IndexError, ValueError):
        return  # it ended cleanly, or never came so far, or this is not Linux
    if users == 0:
        ctypes.CDLL(None).shmctl(int(segment), 0, None)  # 0 is IPC_RMID


def _users_of(key: int, segment: int) -> int | None:
    """Count who is attached to a segment; None: it is gone, and its number may belong to another server."""
    with open("/proc/sysvipc/shm", encoding="ascii") as listed:
        next(listed)
        for row in map(str.split, listed):
            if int(row[0]) == key and int(row[1]) == segment:
                return int(row[6])
    return None


def _signed(key: int) -> int:
    return key - (1 << 32) if key >= 1 << 31 else key


def _watch(parent: int, charge: _Charge) -> None:
    """Take what the parent gives, until it is gone or lets us go."""
    pending = b""
    while True:
        if not select.select([0], [], [], 0.5)[0]:
            # A fork of the parent may hold the pipe open, so that its end alone does not tell.
            if os.getppid() != parent:
                return
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            charge.take(json.loads(line))


def main() -> None:
    """Watch, then clean up; signals that end everybody else do not end this."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    charge = _Charge()
    _watch(int(sys.argv[1]), charge)
    charge.end()


if __name__ == "__main__":
    main()
