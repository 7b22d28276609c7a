"""Files by URL (``file://``, ``s3://`` and whatever else fsspec speaks), within a root that callers cannot leave."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

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
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        with filesystem.transaction, filesystem.open(path, "wb") as target:
            while block := content.read(READ_BLOCK):
                target.write(block)


def read(url: str) -> Iterator[bytes]:
    """The bytes of a file in blocks; raises ``DomainError`` not_found before the first of them."""
    with _speaking(url):
        filesystem, path = _open(url)
        try:
            source = filesystem.open(path, "rb")
        except (FileNotFoundError, IsADirectoryError) as exc:
            raise not_found("file") from exc
    return _blocks(source)


def listing(root: str) -> tuple[list[StoredFile], bool]:
    """The files below ``root`` by path, at most ``MAX_LISTED``, and whether there are more."""
    with _speaking(root):
        filesystem, top = _open(root)
        found: list[StoredFile] = []
        for folder, _, files in filesystem.walk(top, detail=True, on_error="omit"):
            for name, info in sorted(files.items()):
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
        import os.path

        _, top = _open(root)
        real = os.path.realpath(absolute)
        if not real.startswith(os.path.realpath(top) + os.sep):
            raise not_found("file")
    return url


def _open(url: str) -> tuple[Any, str]:
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path


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
    except (DomainError, FileNotFoundError):
        raise
    except Exception as exc:
        scheme = url.split("://", 1)[0]
        raise DomainError(
            "storage_unavailable",
            f"The storage ({scheme}://) cannot be used at the moment: {exc}"[:500],
            http_status=503,
        ) from exc
