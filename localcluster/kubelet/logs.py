"""Serving of container logs: follow, tail, since, timestamps, byte limit, previous. Reads in blocks, whatever the size."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from localcluster.api.requests import number
from localcluster.errors import ApiError, FieldError, bad_request, invalid_kind
from localcluster.objects import Obj, parse_time, uid_of
from localcluster.registry import Registry
from localcluster.resources import PODS

BLOCK = 256 * 1024
FOLLOW_SECONDS = 0.1


@dataclass(frozen=True)
class LogOptions:
    follow: bool
    tail: int | None
    since: datetime | None
    timestamps: bool
    limit: int | None
    previous: bool


class LogReader:
    def __init__(self, registry: Registry, pods_folder: Path) -> None:
        self._registry, self._pods_folder = registry, pods_folder
        self._closed = False

    def close(self) -> None:
        self._closed = True

    async def serve(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        pod = self._registry.get(PODS, namespace, name).obj
        options = _options(request, self._registry)
        container = _choose_container(pod, request.query.get("container", ""))
        path = self._log_path(pod, container, options)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            await self._copy(response, path, options, pod, container)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away
        return response

    def _log_path(self, pod: Obj, container: str, options: LogOptions) -> Path:
        folder = self._pods_folder / uid_of(pod) / "containers" / container
        attempts = sorted(int(path.parent.name) for path in folder.glob("[0-9]*/log"))
        name = pod["metadata"]["name"]
        if options.previous:
            if len(attempts) < 2 and _restart_count(pod, container) < 1:
                raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
            attempts = attempts[:-1] if len(attempts) > 1 else attempts
        if not attempts:
            reason = _waiting_reason(pod, container)
            if reason is None:
                return Path(os.devnull)
            message = f'container "{container}" in pod "{name}" is waiting to start: {reason}'
            raise bad_request(message)
        return folder / str(attempts[-1]) / "log"

    async def _copy(
        self, response: web.StreamResponse, path: Path, options: LogOptions, pod: Obj, container: str
    ) -> None:
        budget = options.limit
        with open(path, "rb") as file:
            file.seek(_tail_offset(file, options.tail) if options.tail is not None else 0)
            reader = Records(file, options)
            while True:
                ended = self._ended(pod, container, path) if options.follow else True
                for text in reader.read():
                    data = text if budget is None else text[:budget]
                    await response.write(data)
                    if budget is not None:
                        budget -= len(data)
                        if budget <= 0:
                            return
                if ended or self._closed:
                    return
                await asyncio.sleep(FOLLOW_SECONDS)

    def _ended(self, pod: Obj, container: str, path: Path) -> bool:
        """Whether nothing more can be written to the log; looked at before reading, so nothing is missed."""
        if (path.parent / "exit").exists():
            return True
        item = self._registry.find(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        if item is None or uid_of(item.obj) != uid_of(pod):
            return True
        return (item.obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class Records:
    """Turns log records back into output, block by block; a record that is not whole yet waits for the next call."""

    def __init__(self, file: BinaryIO, options: LogOptions) -> None:
        self._file, self._options = file, options
        self._rest = b""
        self._within = False  # the last record was partial, so the next continues its line

    def read(self) -> Iterator[bytes]:
        """What can be read now, in pieces."""
        while block := self._file.read(BLOCK):
            lines = (self._rest + block).split(b"\n")
            self._rest = lines.pop()
            text = b"".join(self._render(line) for line in lines)
            if text:
                yield text

    def _render(self, record: bytes) -> bytes:
        moment, _, rest = record.partition(b" ")
        _, _, rest = rest.partition(b" ")
        flag, _, text = rest.partition(b" ")
        if self._options.since is not None and not self._within and _time_of(moment) < self._options.since:
            return b""
        head = moment + b" " if self._options.timestamps and not self._within else b""
        self._within = flag == b"P"
        return head + text if self._within else head + text + b"\n"


def _options(request: web.Request, registry: Registry) -> LogOptions:
    query = request.query
    since = None
    seconds = number(query, "sinceSeconds")
    if query.get("sinceTime"):
        try:
            since = parse_time(query["sinceTime"])
        except ValueError:
            raise bad_request(f"invalid sinceTime: {query['sinceTime']}") from None
    elif seconds is not None:
        since = registry.clock.now() - timedelta(seconds=seconds)

    def flag(name: str) -> bool:
        return query.get(name, "").lower() in ("true", "1")

    limit = number(query, "limitBytes")
    bad = [
        FieldError.invalid(field, int(query[field]), f"must be greater than {'or equal to ' if least == 0 else ''}0")
        for field, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1))
        if number(query, field) is not None and int(query[field]) < least
    ]
    if bad:
        raise invalid_kind("PodLogOptions", "", request.path.split("/")[-2], bad)
    return LogOptions(flag("follow"), number(query, "tailLines"), since, flag("timestamps"), limit, flag("previous"))


def _choose_container(pod: Obj, wanted: str) -> str:
    mains = [container["name"] for container in pod["spec"].get("containers") or ()]
    inits = [container["name"] for container in pod["spec"].get("initContainers") or ()]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in mains + inits:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(mains) > 1:
        message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(mains)}]"
        if inits:
            message += f" or one of the init containers: [{' '.join(inits)}]"
        raise bad_request(message)
    if not mains:
        raise ApiError(500, "InternalError", f"pod {name} has no containers")
    return str(mains[0])


def _entries(pod: Obj, container: str) -> Iterator[Obj]:
    status = pod.get("status") or {}
    for field in ("containerStatuses", "initContainerStatuses"):
        yield from (entry for entry in status.get(field) or () if entry["name"] == container)


def _restart_count(pod: Obj, container: str) -> int:
    return sum(int(entry.get("restartCount", 0)) for entry in _entries(pod, container))


def _waiting_reason(pod: Obj, container: str) -> str | None:
    """Why there is no log yet; None when the container has run (its log may be gone with the machine's disk)."""
    for entry in _entries(pod, container):
        state = entry.get("state") or {}
        return str(state["waiting"].get("reason") or "ContainerCreating") if "waiting" in state else None
    return "ContainerCreating"


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines of output begin, looking backwards from the end block by block.

    A line of output ends with a full record, so the line before the wanted ones ends where the search does.
    """
    position = file.seek(0, os.SEEK_END)
    if lines == 0:
        return position
    found, tail, first = 0, b"", True
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        file.seek(position)
        tail = file.read(size) + tail
        end = len(tail)
        while end > 0 and ((newline := tail.rfind(b"\n", 0, end - 1)) >= 0 or position == 0):
            full = tail[newline + 1 : newline + 64].split(b" ", 3)[2:3] == [b"F"]
            # The newest record ends a line of output even if it is partial: nothing follows it yet.
            found += full or first
            first = False
            if found > lines:
                return _after_record(tail, newline, position)
            end = newline + 1
        tail = tail[:end]
    return 0


def _after_record(tail: bytes, newline: int, position: int) -> int:
    """The start of the record that follows the one beginning after `newline`."""
    return position + tail.index(b"\n", newline + 1) + 1


def _time_of(text: bytes) -> datetime:
    return parse_time(text.decode("ascii", "replace"))
