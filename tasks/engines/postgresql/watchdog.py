"""End processes and remove folders when this Python is gone, however it went.

Imported, this file gives `Watchdog`. Run as a script it is the child that watches: it uses the standard
library only, so that it starts in milliseconds and needs no environment.
"""

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
        for number in (self.ending, signal.SIGKILL):
            if self._ended(0.0):
                return
            try:
                os.killpg(self.pid, number)
                os.killpg(self.pid, signal.SIGCONT)
            except ProcessLookupError:
                return
            if self._ended(_GRACE):
                return

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


def _watch(parent: int) -> tuple[list[_Guarded], list[str]]:
    """Collect what to guard until the parent is gone or lets us go."""
    guarded: list[_Guarded] = []
    folders: list[str] = []
    pending = b""
    while True:
        if not select.select([0], [], [], 0.5)[0]:
            # A fork of the parent may hold the pipe open, so that its end alone does not tell.
            if os.getppid() != parent:
                return guarded, folders
            continue
        data = os.read(0, 65536)
        if not data:
            return guarded, folders
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "folder" in message:
                folders.append(message["folder"])
            else:
                guarded.append(_Guarded(message["pid"], message["ending"]))


def main() -> None:
    """Watch, then clean up; signals that end everybody else do not end this."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guarded, folders = _watch(int(sys.argv[1]))
    for group in guarded:
        group.end()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
