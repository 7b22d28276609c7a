"""Reading a container's log from where an earlier read ended.

Kubernetes offers no byte offsets, only ``sinceTime`` in whole seconds and a timestamp before each line. A ``Position`` is the
timestamp of the last line taken, how many lines with that timestamp were taken before it, and how many bytes of that line; a read
from a position delivers each byte once, however often it is interrupted. Memory is bounded by the chunk, whatever a program
prints: lines without an end and bytes that are no text included. A line without a timestamp (a kubelet writes one where it cannot
read a log) goes with the line before it.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import urllib3

from platform_portal.kube.cluster import Cluster
from platform_portal.kube.errors import Unavailable
from platform_portal.kube.resources import path

CHUNK = 64 * 1024
MAX_STAMP = 40
STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Position:
    """Behind the ``column``-th byte of line number ``index`` among those stamped ``stamp``."""

    stamp: str = ""
    index: int = 0
    column: int = 0

    def as_json(self) -> list[Any]:
        return [self.stamp, self.index, self.column]

    @classmethod
    def from_json(cls, value: list[Any] | None) -> "Position":
        return cls(*value) if value else cls()


def read(
    cluster: Cluster, namespace: str, pod: str, container: str, since: Position, *, seconds: float
) -> Iterator[tuple[bytes, Position]]:
    """What the container has printed since, in chunks with the position behind each; stops after ``seconds``.

    Raises ``kube.errors``; what was delivered before stays valid.
    """
    query: dict[str, str | int | bool] = {"container": container, "timestamps": True}
    if since.stamp:
        query["sinceTime"] = _whole_second(since.stamp)
    response = cluster.client.stream(path("Pod", namespace, pod, "log"), query=query, idle_timeout=seconds + 5)
    deadline = time.monotonic() + seconds
    try:
        yield from _new_bytes(_chunks(response, deadline), since)
    finally:
        response.close()


def _chunks(response: urllib3.BaseHTTPResponse, deadline: float) -> Iterator[bytes]:
    try:
        while time.monotonic() < deadline and (chunk := response.read1(CHUNK)):
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        raise Unavailable(0, "Interrupted", f"the log broke off: {exc}") from exc


def _new_bytes(chunks: Iterator[bytes], since: Position) -> Iterator[tuple[bytes, Position]]:
    """Strips the timestamps and drops what lies before ``since``."""
    at = Position()
    head = b""
    in_line = False
    for chunk in chunks:
        out = bytearray()
        chunk, head = head + chunk, b""
        start = 0
        while start < len(chunk):
            if not in_line:
                first = chunk[start : start + MAX_STAMP]
                if len(first) < MAX_STAMP and b" " not in first and b"\n" not in first:
                    head = first
                    break
                stamp = STAMP.match(first)
                if stamp:
                    at = _next_line(at, stamp[0].decode())
                    # The space belongs to the stamp; a line feed straight after it is an empty line's own.
                    start += len(stamp[0]) + (first[len(stamp[0]) : len(stamp[0]) + 1] == b" ")
                in_line = True
                continue
            newline = chunk.find(b"\n", start)
            end = newline + 1 if newline >= 0 else len(chunk)
            piece = chunk[start:end]
            skip = min(len(piece), _already_taken(at, since))
            out += piece[skip:]
            at = replace(at, column=at.column + len(piece))
            in_line = newline < 0
            start = end
        if out:
            yield bytes(out), at
    # What is left is the beginning of a stamp: its line has nothing to take yet, and comes again with the next read.


def _next_line(at: Position, stamp: str) -> Position:
    return Position(stamp, at.index + 1 if stamp == at.stamp else 0, 0)


def _already_taken(at: Position, since: Position) -> int:
    """How many of the coming bytes of the current line were delivered before ``since``."""
    if _key(at.stamp) > _key(since.stamp):
        return 0
    if _key(at.stamp) < _key(since.stamp) or at.index < since.index:
        return 1 << 62
    if at.index > since.index:
        return 0
    return max(0, since.column - at.column)


def _whole_second(stamp: str) -> str:
    """The stamp in UTC, cut to the second; a node's clock may stand in another zone."""
    zone = "+00:00" if stamp.endswith("Z") else stamp[-6:]
    return datetime.fromisoformat(stamp[:19] + zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(stamp: str) -> str:
    """Orders RFC 3339 stamps in UTC whose fractions differ in length (Go drops trailing zeros)."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"
