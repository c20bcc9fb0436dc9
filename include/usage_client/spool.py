"""Events on disk while the service is away: a folder of files that any number of processes share.

A file holds the events of one batch, a line each: the CRC-32 of the event in eight hexadecimal digits, a space, the
event as JSON. Its first line is a header in the same form. The name says what it is: `<time>-<writer>-<number>` and
then

- `.open`: is being written. Whatever its last line says in full counts, so it may be cut off anywhere.
- `.<events>.batch`: is whole, and waits to be sent.
- `.<events>.failed`: the service would not have it; its header says why. It waits for somebody to ask for it again.
- `.damaged`: the disk returned other than was written; what could be read has been sent, this is for people to look at.

Whoever writes or sends a file holds a lock on it (flock), which the system takes away when that process ends, however
it ends. A file is removed when the service has answered for its events; a process that is killed between the two has
them sent once more, and their keys count once.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
_HEADER = b'{"usage_spool":'
_BLOCK = 4096
LOOK_SECONDS = 1.0


class SpoolFull(Exception):
    """There is no room for more within the size that the spool may have."""


@dataclass(frozen=True)
class SpoolState:
    """What a spool holds, as far as the names of its files say."""

    files: int = 0
    events: int = 0
    """That wait to be sent."""
    failed: int = 0
    """Events that the service would not have."""
    damaged: int = 0
    """Files that the disk has damaged."""
    bytes: int = 0
    """On disk, at least one block a file."""


class SpoolFile:
    """A file that this process holds; nobody else takes it up before it is released or this process ends."""

    def __init__(self, path: Path, descriptor: int, size: int, grow: Callable[[int], None]) -> None:
        self.path = path
        self.size = size
        """In bytes, as far as this process knows."""
        self.damaged = 0
        """Events that could not be read."""
        self.whole = True
        """Whether every line that was appended has been written."""
        self._descriptor: int | None = descriptor
        self._grow = grow

    def append(self, line: bytes) -> None:
        """Write one event, so that it outlives this process. After a failure the file takes no more: see `whole`."""
        if self.whole:
            try:
                self.write(framed(line))
            except OSError:
                self.whole = False

    def write(self, data: bytes) -> None:
        """Write all of `data`; raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._open, view) :]
        self.size += len(data)
        self._grow(len(data))

    def sync(self) -> None:
        """Have what was written outlive the machine's power, too."""
        os.fsync(self._open)

    def rename(self, suffix: str, *, to: str | None = None) -> None:
        """Give the file another suffix, and another name if `to` gives one."""
        target = self.path.with_name(f"{to or self.path.name.partition('.')[0]}{suffix}")
        os.rename(self.path, target)
        self.path = target

    def read(self) -> tuple[list[bytes], str]:
        """The events that can be read, and the reason that the header gives; counts the others in `damaged`."""
        os.lseek(self._open, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._open), "rb") as stream:
            *lines, cut_off = stream.read().split(b"\n")
        bodies = [unframed(line) for line in lines]
        good = [body for body in bodies if body is not None and not body.startswith(_HEADER)]
        reason = ""
        if bodies and bodies[0] is not None and len(good) < len(bodies):
            with contextlib.suppress(ValueError):
                reason = str(json.loads(bodies[0]).get("reason", ""))
        self.damaged = bodies.count(None)
        count = _count(self.path.name)
        if count is not None:
            self.damaged = max(count - len(good), 0)
        elif (body := unframed(cut_off)) is not None and not body.startswith(_HEADER):
            good.append(body)  # only its line feed is missing
        return good, reason

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """The service has answered for its events: they need it no more. What is damaged stays for people to see."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if self.damaged:
                self.rename(".damaged")
            else:
                os.unlink(self.path)
                self._grow(-max(self.size, _BLOCK))
        self.release()

    @property
    def held(self) -> bool:
        """Whether this process still holds it."""
        return self._descriptor is not None

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise OSError(f"{self.path.name} has been released")
        return self._descriptor


class Claim:
    """Files taken up to be sent in one request, the oldest first."""

    def __init__(self) -> None:
        self.files: list[SpoolFile] = []
        self.lines: list[bytes] = []

    @property
    def damaged(self) -> int:
        """Events that could not be read."""
        return sum(file.damaged for file in self.files)

    @property
    def names(self) -> list[str]:
        """Of the files."""
        return [file.path.name for file in self.files]

    def release(self) -> None:
        """Leave the files where they are, for whoever comes next."""
        for file in self.files:
            file.release()

    def remove(self) -> None:
        """Remove the files: their events have been answered for, or stand elsewhere."""
        for file in self.files:
            file.remove()


class Spool:
    """A folder of events, at most `max_bytes` large; each process may go over that by one file."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._writer = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._held: set[SpoolFile] = set()
        self._lock = threading.Lock()
        self._used = 0
        self._looked_at = -LOOK_SECONDS
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.look()

    def open(self, reason: str = "", *, force: bool = False) -> SpoolFile:
        """Begin a file. Raises `SpoolFull` where there is no room (unless by `force`) and OSError for the disk's.

        It does not look how full the folder is, which may take long, but goes by what it knows: see `look`.
        """
        if not force and self._used >= self._max_bytes:
            raise SpoolFull(f"the spool holds {self._max_bytes} bytes")
        while True:
            path = self.folder / f"{self._new_name()}.open"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            file = self._hold(path, descriptor)
            if file is not None:
                break  # else somebody took it for one whose writer had died
        try:
            file.write(framed(json.dumps({"usage_spool": FORMAT, "reason": reason}, separators=(",", ":")).encode()))
        except OSError:
            file.remove()
            raise
        self._grow(_BLOCK)
        return file

    def write(self, lines: Iterable[bytes], reason: str = "", *, kind: str = "batch", force: bool = False) -> None:
        """Put events on disk, whole or not at all, and for good. Raises `SpoolFull` or OSError."""
        self.look()
        file = self.open(reason, force=force)
        try:
            count, frames = 0, []
            for line in lines:
                count += 1
                frames.append(framed(line))
            file.write(b"".join(frames))
            self.seal(file, count, kind)
        except OSError:
            file.remove()
            raise
        file.release()

    def seal(self, file: SpoolFile, count: int, kind: str = "batch") -> None:
        """Say that a file is whole and holds `count` events, and have it outlive the machine's power."""
        file.sync()
        file.rename(f".{count}.{kind}")
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def claim(self, max_events: int, max_bytes: int) -> Claim | None:
        """Take up the oldest files that nobody holds, as many as fit in one request (one in any case)."""
        claim, size = Claim(), 0
        for name in sorted(self._names(".open", ".batch")):
            room = max_events - len(claim.lines)
            if claim.files and (room <= 0 or (_count(name) or 0) > room):
                break
            file = self._take(name)
            if file is None:
                continue
            if claim.files and size + os.path.getsize(file.path) > max_bytes:
                file.release()
                break
            lines, _ = file.read()
            if not lines:
                file.remove()
                continue
            size += sum(map(len, lines))
            claim.files.append(file)
            claim.lines += lines
        return claim if claim.files else None

    def postpone(self, file: SpoolFile) -> None:
        """Let all others that wait go before this file, and leave it to whoever comes next."""
        name = self._new_name()
        with contextlib.suppress(OSError):
            file.rename(file.path.name[file.path.name.index(".") :], to=name)
        file.release()

    def failed(self) -> Iterator[tuple[list[bytes], str]]:
        """The events that the service would not have, a file at a time, and why."""
        for name in sorted(self._names(".failed")):
            file = self._take(name)
            if file is not None:
                lines, reason = file.read()
                file.release()
                yield lines, reason

    def revive(self) -> int:
        """Have the failed ones sent again; return how many events they are."""
        count = 0
        for name in self._names(".failed"):
            file = self._take(name)
            if file is not None:
                events = _count(name) or 0
                file.rename(f".{events}.batch")
                file.release()
                count += events
        return count

    @property
    def state(self) -> SpoolState:
        """What it holds now."""
        files = events = failed = damaged = size = 0
        for name, length in self._entries():
            files += 1
            size += max(length, _BLOCK)
            events += (_count(name) or 0) if name.endswith(".batch") else 0
            failed += (_count(name) or 0) if name.endswith(".failed") else 0
            damaged += name.endswith(".damaged")
        return SpoolState(files, events, failed, damaged, size)

    def look(self) -> None:
        """Find out how full the folder is, at most once a second; in between, what this process does is reckoned."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._used = sum(max(size, _BLOCK) for _, size in self._entries())

    def _new_name(self) -> str:
        return f"{time.time_ns():020d}-{self._writer}-{next(self._numbers):06d}"

    def _grow(self, size: int) -> None:
        self._used += size

    def forget(self) -> None:
        """In a forked process: the files that the parent holds stay the parent's."""
        for file in list(self._held):
            file.release()
        self._held = set()
        self._lock = threading.Lock()
        self._writer = secrets.token_hex(4)

    def _hold(self, path: Path, descriptor: int) -> SpoolFile | None:
        """Lock a file that was opened; None where another has it, or where it is gone or has another name by now."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine, there = os.fstat(descriptor), os.stat(path)
        except OSError:
            os.close(descriptor)
            return None
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            os.close(descriptor)
            return None
        file = SpoolFile(path, descriptor, mine.st_size, self._grow)
        with self._lock:
            self._held = {held for held in self._held if held.held}
            self._held.add(file)
        return file

    def _take(self, name: str) -> SpoolFile | None:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return None  # another was quicker
        return self._hold(path, descriptor)

    def _entries(self) -> Iterator[tuple[str, int]]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith((".open", ".batch", ".failed", ".damaged")):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.name, entry.stat().st_size

    def _names(self, *suffixes: str) -> list[str]:
        try:
            return [name for name in os.listdir(self.folder) if name.endswith(suffixes)]
        except FileNotFoundError:
            return []


def framed(line: bytes) -> bytes:
    """A line as it stands in a file: with what proves it whole, and its end."""
    return b"%08x %b\n" % (zlib.crc32(line), line)


def unframed(line: bytes) -> bytes | None:
    """What a line of a file (without its end) says; None where it is not whole."""
    body = line[9:]
    return body if line[:9] == b"%08x " % zlib.crc32(body) else None


def _count(name: str) -> int | None:
    """The events that a name says a file holds; None for one that is being written, or is damaged."""
    parts = name.split(".")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else None
