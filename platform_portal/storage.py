"""Files by URL (``file://``, ``s3://`` and whatever else fsspec speaks), within a root that callers cannot leave."""

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import uuid4

import fsspec

from platform_portal.errors import DomainError, not_found

MAX_LISTED = 1000
READ_BLOCK = 256 * 1024


class StoredFile(NamedTuple):
    path: str
    size: int


def join(root: str, *parts: str) -> str:
    return "/".join([root.rstrip("/"), *(part.strip("/") for part in parts)])


def write_once(url: str, content: IO[bytes]) -> None:
    """Stores content under a URL that names it by its digest: writing it again is the same, a torn write is never seen."""
    with _speaking(url):
        filesystem, path = _open(url)
        if filesystem.exists(path):
            return
        if "file" in _protocols(filesystem):
            filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
            # Beside its place, so that the renaming is one step; a transaction's own draft may lie on another disk.
            draft = f"{path}.{uuid4().hex}.draft"
            try:
                _copy(content, filesystem, draft)
                os.replace(draft, path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        else:
            # No makedirs: an object store has no folders, and s3fs would make a bucket of a misspelt name.
            with filesystem.transaction:
                _copy(content, filesystem, path)


def read(url: str) -> Iterator[bytes]:
    """The bytes of a file in blocks; raises ``DomainError`` not_found before the first of them."""
    with _speaking(url):
        filesystem, path = _open(url)
        try:
            if filesystem.info(path)["type"] == "directory":
                raise not_found("file")
            source = filesystem.open(path, "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
            raise not_found("file") from exc
    return _blocks(source)


def listing(root: str) -> tuple[list[StoredFile], bool]:
    """The files below ``root`` by path, at most ``MAX_LISTED``, and whether there are more; none when there is no root."""
    with _speaking(root):
        filesystem, top = _open(root)
        found: list[StoredFile] = []
        for folder, _, files in filesystem.walk(top, detail=True, on_error="omit"):
            for name, info in sorted(files.items()):
                # Links to folders are here too; what they lead to may lie outside the root.
                if not name or info.get("islink"):
                    continue
                if len(found) >= MAX_LISTED:
                    return sorted(found), True
                path = posixpath.join(folder, name)
                found.append(StoredFile(posixpath.relpath(path, top), int(info.get("size") or 0)))
    return sorted(found), False


def inside(root: str, path: str) -> str:
    """The URL of ``path`` below ``root``; raises not_found for a path that would leave it, by dots or by a link."""
    clean = posixpath.normpath(path)
    if not path or clean.startswith(("/", "..")) or "\x00" in path or clean == ".":
        raise not_found("file")
    url = join(root, clean)
    filesystem, absolute = _open(url)
    if "file" in _protocols(filesystem):
        _, top = _open(root)
        real = os.path.realpath(absolute)
        if not real.startswith(os.path.realpath(top) + os.sep):
            raise not_found("file")
    return url


def _copy(content: IO[bytes], filesystem: Any, path: str) -> None:
    with filesystem.open(path, "wb") as target:
        while block := content.read(READ_BLOCK):
            target.write(block)


def _open(url: str) -> tuple[Any, str]:
    """Taken apart by ourselves: to fsspec's own function ``::`` in a name chains one file system to another."""
    protocol, _, _ = url.partition("://")
    # Without its memory of listings, which would hide from one process what another writes.
    filesystem = fsspec.filesystem(protocol, use_listings_cache=False)
    return filesystem, filesystem._strip_protocol(url)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _blocks(source: Any) -> Iterator[bytes]:
    with source:
        while block := source.read(READ_BLOCK):
            yield block


@contextmanager
def _speaking(url: str) -> Iterator[None]:
    """Turns what a store may raise into a sentence; which error it is depends on the store's library."""
    try:
        yield
    except DomainError:
        raise
    except Exception as exc:
        scheme = url.split("://", 1)[0]
        raise DomainError(
            "storage_unavailable",
            f"The storage ({scheme}://) cannot be used at the moment: {exc}"[:500],
            http_status=503,
        ) from exc
