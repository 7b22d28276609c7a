"""An append-only journal of object writes, with compaction.

Promises: a frame whose `append` returned survives kill -9 of the process (it was handed to the kernel); power loss can cost
at most the last second (`sync` is called in the background). A torn or damaged tail is dropped at load, and everything
before it is kept. Compaction writes a complete new file beside the old one and renames it into place.

A frame is a header (length, CRC-32) and a payload of line pairs: `P <bucket>` and the object's JSON, or `D <bucket>` and
the JSON of what was deleted. A frame is applied whole or not at all. `R` pairs a revision with an empty object.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_HEADER = struct.Struct("<II")
_MAGIC = b"localcluster journal 1\n"
_COMPACT_MINIMUM = 32 * 1024 * 1024

Entry = tuple[bytes, str, bytes]  # operation (P, D or R), bucket (or revision), JSON


class Journal:
    """The journal in one folder. `load` must be called once, before `append`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0
        self._descriptor = -1
        self._size = 0
        self._size_after_compaction = 0
        self._unsynced = False

    def load(self) -> Iterator[list[Entry]]:
        """Yield every whole frame, then leave the file ready for appending."""
        self._folder.mkdir(parents=True, exist_ok=True)
        generations = sorted(int(path.stem.split("-")[1]) for path in self._folder.glob("journal-*.log"))
        self._generation = generations[-1] if generations else 1
        path = self._path(self._generation)
        good = 0
        if path.exists():
            data = path.read_bytes()
            for end, payload in _frames(data):
                yield _decode(payload)
                good = end
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, good)
        os.lseek(self._descriptor, good, os.SEEK_SET)
        self._size = good
        if good == 0:
            self._write(_MAGIC)
        self._size_after_compaction = self._size
        self._remove_others()

    def append(self, entries: Iterable[Entry]) -> None:
        """Write one frame. OSError leaves the journal as it was before."""
        self._write(_frame(entries))

    def sync(self) -> None:
        """Ask the disk to keep what was appended; blocking, so call it from a thread."""
        if self._unsynced and self._descriptor >= 0:
            self._unsynced = False
            os.fsync(self._descriptor)

    def wants_compaction(self) -> bool:
        return self._size > max(_COMPACT_MINIMUM, 3 * self._size_after_compaction)

    def compact(self, snapshot: Callable[[], Iterable[list[Entry]]]) -> None:
        """Replace the journal by the frames of `snapshot`, which must describe the whole present state."""
        generation = self._generation + 1
        temporary = self._folder / f"journal-{generation:08d}.tmp"
        with open(temporary, "wb") as out:
            os.chmod(temporary, 0o600)
            out.write(_MAGIC)
            for entries in snapshot():
                out.write(_frame(entries))
            out.flush()
            os.fsync(out.fileno())
        os.rename(temporary, self._path(generation))
        _sync_folder(self._folder)
        os.close(self._descriptor)
        self._generation = generation
        self._descriptor = os.open(self._path(generation), os.O_RDWR | os.O_CLOEXEC)
        self._size = self._size_after_compaction = os.lseek(self._descriptor, 0, os.SEEK_END)
        self._remove_others()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes) -> None:
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, view[written:])
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(data)
        self._unsynced = True

    def _path(self, generation: int) -> Path:
        return self._folder / f"journal-{generation:08d}.log"

    def _remove_others(self) -> None:
        keep = self._path(self._generation).name
        for path in self._folder.glob("journal-*"):
            if path.name != keep:
                path.unlink(missing_ok=True)


def _frame(entries: Iterable[Entry]) -> bytes:
    payload = b"".join(b"%b %b\n%b\n" % (operation, bucket.encode(), raw) for operation, bucket, raw in entries)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    if not data.startswith(_MAGIC):
        return
    position = len(_MAGIC)
    yield position, b""
    while position + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, position)
        start = position + _HEADER.size
        payload = data[start : start + length]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        position = start + length
        yield position, payload


def _decode(payload: bytes) -> list[Entry]:
    lines = payload.split(b"\n")
    entries: list[Entry] = []
    for index in range(0, len(lines) - 1, 2):
        operation, _, bucket = lines[index].partition(b" ")
        entries.append((operation, bucket.decode(), lines[index + 1]))
    return entries


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
