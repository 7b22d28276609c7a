"""PURE: what an uploaded source archive may be. Nothing is unpacked here; every entry is looked at.

Refused: paths that leave the workspace, links and devices, more than ``MAX_ENTRIES`` entries, more than ``MAX_UNPACKED`` bytes
once unpacked (counted while decompressing, not believed), encrypted entries, and what is no zip, tar.gz or ``.py``. Memory
stays small whatever the file holds.
"""

import tarfile
import zipfile
from pathlib import PurePosixPath
from typing import IO

MAX_ENTRIES = 10_000
MAX_UNPACKED = 1024 * 1024 * 1024
MAX_PATH = 1000
# What tar keeps beside an entry (long names, extended headers) is read into memory whole.
MAX_TAR_HEADER = 64 * 1024
BLOCK = 1024 * 1024
ZIP_ENTRY = b"PK\x01\x02"


class BadArchive(ValueError):
    """The upload is not acceptable; the message is a sentence for the user."""


def inspect(file: IO[bytes], filename: str) -> str:
    """The archive's kind, ``zip``, ``tar.gz`` or ``py``; raises ``BadArchive``. The file is rewound."""
    try:
        return _inspect(file, filename)
    finally:
        file.seek(0)


def _inspect(file: IO[bytes], filename: str) -> str:
    lower = filename.lower()
    head = file.read(4)
    file.seek(0)
    if not head:
        raise BadArchive("The file is empty.")
    if lower.endswith(".py"):
        _check_path(filename)
        return "py"
    try:
        if head == b"PK\x03\x04" and lower.endswith(".zip"):
            _check_zip(file)
            return "zip"
        if head[:2] == b"\x1f\x8b" and lower.endswith((".tar.gz", ".tgz")):
            _check_tar(file)
            return "tar.gz"
    except BadArchive:
        raise
    except Exception as exc:
        # The readers raise a dozen kinds of error on damaged files, plain TypeError among them.
        raise BadArchive(f"The archive is damaged or of an unknown kind: {exc}") from exc
    raise BadArchive("The file must be a .zip, a .tar.gz or a single .py file.")


def _check_zip(file: IO[bytes]) -> None:
    budget = _Budget()
    # The directory of a zip is read into memory whole, a million entries of it too; each begins with this mark.
    if _occurrences(file, ZIP_ENTRY) > MAX_ENTRIES:
        raise BadArchive(f"The archive holds more than {MAX_ENTRIES} entries.")
    with zipfile.ZipFile(file) as bundle:
        for entry in bundle.infolist():
            _check_path(entry.filename)
            mode = entry.external_attr >> 28
            # The upper bits are a Unix file type: 10 is a link; 0 is what other systems write.
            if mode not in (0, 4, 8):
                raise BadArchive(
                    f"{_shown(entry.filename)} is a link or a device; archives may hold files and folders only."
                )
            if entry.flag_bits & 0x1:
                raise BadArchive(f"{_shown(entry.filename)} is encrypted.")
            budget.entry()
            with bundle.open(entry) as content:
                while block := content.read(BLOCK):
                    budget.add(len(block))


def _check_tar(file: IO[bytes]) -> None:
    budget = _Budget()
    with tarfile.open(fileobj=file, mode="r|gz", tarinfo=_TarEntry) as bundle:
        for entry in bundle:
            _check_path(entry.name)
            if not (entry.isfile() or entry.isdir()):
                raise BadArchive(
                    f"{_shown(entry.name)} is a link or a device; archives may hold files and folders only."
                )
            budget.entry()
            content = bundle.extractfile(entry) if entry.isfile() else None
            while content is not None and (block := content.read(BLOCK)):
                budget.add(len(block))


class _TarEntry(tarfile.TarInfo):
    """Refuses an extended header that claims to be large before it is read."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in tarfile.REGULAR_TYPES and self.size > MAX_TAR_HEADER:
            raise BadArchive("The archive holds a header that is too large.")
        return super()._proc_member(tar)  # type: ignore[misc]


def _occurrences(file: IO[bytes], mark: bytes) -> int:
    found, rest = 0, b""
    while block := file.read(BLOCK):
        block = rest + block
        found += block.count(mark)
        rest = block[-(len(mark) - 1) :]
    file.seek(0)
    return found


class _Budget:
    def __init__(self) -> None:
        self.entries = self.bytes = 0

    def entry(self) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise BadArchive(f"The archive holds more than {MAX_ENTRIES} entries.")

    def add(self, count: int) -> None:
        self.bytes += count
        if self.bytes > MAX_UNPACKED:
            raise BadArchive(f"The archive unpacks to more than {MAX_UNPACKED // 2**20} MiB.")


def _check_path(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or ".." in path.parts or drive or len(name) > MAX_PATH or not name.isprintable():
        raise BadArchive(f"{_shown(name)} is not a path inside the workspace.")


def _shown(name: str) -> str:
    return repr(name[:100])
