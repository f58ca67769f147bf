"""A small disk: a memory file system of a fixed size, mounted for a test."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.missing import missing


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A mounted file system."""

    path: Path

    def resize(self, megabytes: int) -> None:
        """Give it another size."""
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(self.path)], check=True)


@contextmanager
def small_disk(megabytes: int) -> Iterator[Disk]:
    """Mount a file system of this size; only root may. In CI that is required, elsewhere the test is skipped."""
    # Not in the folder of the test, which the account of the server may not enter.
    with tempfile.TemporaryDirectory(prefix="changeover-disk-") as folder:
        os.chmod(folder, 0o711)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", folder]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            missing(f"a small file system cannot be mounted: {mounted.stderr.strip()}; run as root")
        try:
            yield Disk(path=Path(folder))
        finally:
            # Lazy: the server may still have files of it open.
            subprocess.run(["umount", "--lazy", folder], check=True)
