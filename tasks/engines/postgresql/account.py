"""The account that an embedded server runs under: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tasks.model.errors import PreflightError

_ROOM: Final = 2 << 30  # bytes that /dev/shm must have free to hold a data directory


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who runs the server: we ourselves, or `nobody` when we are root."""

    uid: int
    gid: int
    other: bool
    """Whether it is somebody else than we are."""

    @classmethod
    def choose(cls) -> Self:
        """Take our own account, or `nobody` for root."""
        if os.geteuid() != 0:
            return cls(uid=os.geteuid(), gid=os.getegid(), other=False)
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError:
            raise PreflightError(
                "PostgreSQL does not run as root, and there is no user `nobody` to run it as",
                hint="Run the command as an ordinary user.",
            ) from None
        return cls(uid=entry.pw_uid, gid=entry.pw_gid, other=True)

    def popen(self) -> dict[str, Any]:
        """Give the arguments of Popen that make a child run under this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}

    def runs(self, *command: str | Path) -> bool:
        """Tell whether a command can be run under this account and succeeds."""
        try:
            done = subprocess.run(  # noqa: S603 - no shell of the user's, no input of the user's
                [*map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                check=False,
                **self.popen(),
            )
        except OSError:
            return False
        return done.returncode == 0

    def reaches(self, folder: Path) -> bool:
        """Tell whether this account can enter a folder."""
        return self.runs("/bin/sh", "-c", 'cd "$1"', "sh", folder)

    def temporary_folder(self, *, in_memory: bool = False) -> Path:
        """Choose a folder for temporary ones: in memory if asked for and possible, else on disk."""
        memory = Path("/dev/shm")  # noqa: S108 - only folders with random names are made in it
        if in_memory and os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free >= _ROOM:
            return memory
        # TMPDIR of root is often a private folder.
        candidates = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - as above
        for folder in map(Path, candidates):
            if self.reaches(folder):
                return folder
        raise PreflightError(
            "No temporary folder can be reached by the user `nobody`, who runs the embedded PostgreSQL",
            where=str(candidates[0]),
            hint="Set TMPDIR to a folder that every user can enter, or run the command as an ordinary user.",
        )

    def own(self, folder: Path) -> Path:
        """Make a data directory ours, creating it; refuse one that this account cannot use."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.other and folder.stat().st_uid != self.uid and not any(folder.iterdir()):
            os.chown(folder, self.uid, self.gid)
            folder.chmod(0o700)
        if folder.stat().st_uid != self.uid or not self.reaches(folder):
            raise PreflightError(
                "The data directory cannot be used by the account that runs the embedded PostgreSQL",
                where=str(folder),
                hint="Choose a new folder below one that every user can enter, or leave it out.",
            )
        return folder
