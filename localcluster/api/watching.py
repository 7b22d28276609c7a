"""Watch streams: the past since a revision, then what comes, with bookmarks; 410 when the past is no longer known."""

from __future__ import annotations

import asyncio
import random

import orjson
from aiohttp import web

from localcluster.api import table
from localcluster.api.requests import ApiPath, number
from localcluster.api.responses import FULL, METADATA, TABLE, form_of, raw_of
from localcluster.errors import ApiError, bad_request
from localcluster.objects import Obj, labels_of
from localcluster.registry import Registry
from localcluster.resources import Resource
from localcluster.selectors import FieldSelector, LabelSelector
from localcluster.store import Change, Item, Watch

BOOKMARK_SECONDS = 50.0
LAST_BOOKMARK_SECONDS = 2.0
_DEFAULT_TIMEOUT = 1800.0


class Watching:
    def __init__(self, registry: Registry) -> None:
        self._registry, self._store = registry, registry.store
        self._open: set[Watch] = set()
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for watch in list(self._open):
            watch.close()

    async def serve(
        self, request: web.Request, path: ApiPath, labels: LabelSelector, fields: FieldSelector
    ) -> web.StreamResponse:
        query = request.query
        bucket = path.resource.bucket
        timeout = number(query, "timeoutSeconds") or _DEFAULT_TIMEOUT * random.uniform(1, 2)
        since = _since(query.get("resourceVersion", ""))
        past, watch = self._store.watch(bucket, since)
        self._open.add(watch)
        first = [] if since is not None else self._store.items(bucket, path.namespace)
        position = self._store.revision
        view = View(
            path.resource, path.namespace, labels, fields, form_of(request), query.get("includeObject", "Metadata")
        )
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        try:
            await response.prepare(request)
            head = [view.event(Change("ADDED", bucket, item, None)) for item in first] + [view.event(c) for c in past]
            await _send(response, head)
            bookmarks = query.get("allowWatchBookmarks", "").lower() in ("true", "1")
            await self._follow(response, watch, view, timeout, bookmarks, position)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away
        finally:
            self._open.discard(watch)
            watch.close()
        return response

    async def _follow(
        self, response: web.StreamResponse, watch: Watch, view: View, timeout: float, bookmarks: bool, position: int
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        # One bookmark comes shortly before the end, so that the next watch need not begin far back.
        last_bookmark = end - LAST_BOOKMARK_SECONDS
        next_bookmark = min(loop.time() + BOOKMARK_SECONDS, last_bookmark)
        while not self._closed and (left := end - loop.time()) > 0:
            wait = min(left, next_bookmark - loop.time()) if bookmarks else left
            changes = await watch.changes(max(wait, 0.0)) if wait > 0 else []
            await _send(response, [view.event(change) for change in changes])
            if watch.overflowed:
                await _send(response, [_error(ApiError(410, "Expired", "the watch was too slow"))])
                return
            if bookmarks and loop.time() >= next_bookmark:
                # Everything up to now has been sent, so a later watch may begin here.
                await _send(response, [view.bookmark(self._store.revision)])
                now = loop.time()
                next_bookmark = min(now + BOOKMARK_SECONDS, last_bookmark) if now < last_bookmark else end


class View:
    """What one watcher sees of a bucket's changes."""

    def __init__(
        self,
        resource: Resource,
        namespace: str | None,
        labels: LabelSelector,
        fields: FieldSelector,
        form: str,
        include: str,
    ) -> None:
        self._resource, self._namespace = resource, namespace
        self._labels, self._fields, self._form, self._include = labels, fields, form, include
        self._plain = not labels.requirements and not fields.terms

    def event(self, change: Change) -> bytes:
        """The line for a change; empty when the watcher does not see it."""
        if self._namespace is not None and change.item.key[0] != self._namespace:
            return b""
        kind = change.kind
        if not self._plain:
            kind = self._kind(change)
        return _line(kind, self._body(change.item)) if kind else b""

    def bookmark(self, revision: int) -> bytes:
        metadata: Obj = {"resourceVersion": str(revision)}
        if self._form == TABLE:
            document: Obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "rows": []}
        else:
            document = {"kind": self._resource.kind, "apiVersion": self._resource.api_version}
            document["metadata"] = {**metadata, "creationTimestamp": None}
        return _line("BOOKMARK", orjson.dumps(document))

    def _kind(self, change: Change) -> str:
        """An object that comes to match is ADDED, one that ceases to is DELETED."""
        now = self._matches(change.item)
        before = change.previous is not None and self._matches(change.previous)
        if change.kind == "DELETED":
            return "DELETED" if before or now else ""
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def _matches(self, item: Item) -> bool:
        return self._labels.matches(labels_of(item.obj)) and self._fields.matches(item.obj)

    def _body(self, item: Item) -> bytes:
        if self._form == FULL:
            return raw_of(self._resource, item)
        if self._form == METADATA:
            return orjson.dumps({"kind": METADATA, "apiVersion": "meta.k8s.io/v1", "metadata": item.obj["metadata"]})
        return orjson.dumps(table.render(self._resource, [item], item.revision, self._include))


def _since(text: str) -> int | None:
    """None for a watch that begins with the present objects."""
    if text in ("", "0"):
        return None
    if not text.isdigit():
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f'resourceVersion: Invalid value: "{text}": {why}')
    return int(text)


async def _send(response: web.StreamResponse, lines: list[bytes]) -> None:
    data = b"".join(lines)
    if data:
        await response.write(data)


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


def _error(error: ApiError) -> bytes:
    return _line("ERROR", orjson.dumps(error.status()))
