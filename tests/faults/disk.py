"""A small file system in a file: it can be filled, and its power can be cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Self

# EXT4_IOC_SHUTDOWN of Linux, as the tests of file systems use it to play a power cut: from this instant nothing more
# reaches the device, not even the journal, and what was only in memory is gone at the next mount.
SHUTDOWN, WITHOUT_FLUSHING_THE_LOG = 2 << 30 | 4 << 16 | ord("X") << 8 | 125, 2


class Disk:
    """An ext4 file system of `megabytes` in `folder`, mounted at `folder / "mounted"`; needs root and a loop device."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.mounted = folder / "mounted"
        self._image = folder / "image"
        self._megabytes = megabytes

    @staticmethod
    def missing() -> str | None:
        """Why there can be none here, or None."""
        if os.geteuid() != 0:
            return "only root may mount a small file system"
        if not shutil.which("mkfs.ext4"):
            return "mkfs.ext4 is not installed"
        return None if Path("/dev/loop-control").exists() else "there are no loop devices"

    def __enter__(self) -> Self:
        with self._image.open("wb") as file:
            file.truncate(self._megabytes << 20)
        # No blocks reserved for root: full is full, for everybody.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self.mounted.mkdir()
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()

    @property
    def free(self) -> int:
        """Bytes that are free."""
        return shutil.disk_usage(self.mounted).free

    def fill(self) -> None:
        """Take all space that is left."""
        ballast = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        try:
            for size in (1 << 20, 1 << 12):  # in large pieces, then in the smallest
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(ballast, os.fstat(ballast).st_size, size)
        finally:
            os.close(ballast)

    def relieve(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def cut_power(self) -> None:
        """From now on every use of it fails, and what had not been made durable is lost."""
        folder = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        finally:
            os.close(folder)

    def restore_power(self) -> None:
        """Mount it again, as after a power cut: its journal brings it back to what had been made durable."""
        self._unmount()
        self._mount()

    @property
    def _ballast(self) -> Path:
        return self.mounted / "ballast"

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.mounted))

    def _unmount(self) -> None:
        deadline = time.monotonic() + 30
        while (done := subprocess.run(["umount", str(self.mounted)], capture_output=True, text=True)).returncode:
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.1)  # somebody who was killed is still leaving


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
