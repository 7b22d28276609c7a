"""A local copy of one kind of object, kept by list, watch and a periodic relist.

Promises: after ``synced`` is set, ``get`` and ``all`` answer from memory; every difference that a watch or a relist brings is
told to ``on_change`` exactly once, from the watching thread. Survives 410, dropped connections, a silent server and a server
that is away: it lists anew, with back-off. A watch is trusted for speed, the relist for truth.

``summarize`` turns an object into what is kept of it (memory is per summary, not per object); two equal summaries are no change.
It returns ``None`` for an object that is of no interest.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import orjson
import urllib3

from platform_portal.kube.client import socket_of
from platform_portal.kube.cluster import Cluster, Object
from platform_portal.kube.errors import ClusterError, Expired, Unavailable, from_response

log = logging.getLogger(__name__)
S = TypeVar("S")
RELIST_SECONDS = 600
WATCH_SECONDS = 240
MAX_BACKOFF = 30.0


class Informer(threading.Thread, Generic[S]):
    """Watches ``kind`` with ``selector``; ``on_change(uid, before, after)`` has ``None`` for absent."""

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        *,
        selector: str = "",
        summarize: Callable[[Object], S | None],
        on_change: Callable[[str, S | None, S | None], None],
        relist_seconds: float = RELIST_SECONDS,
        keep: bool = True,
    ) -> None:
        super().__init__(name=f"watch-{kind}", daemon=True)
        self.cluster, self.kind, self.selector = cluster, kind, selector
        self.synced = threading.Event()
        self.last_contact = 0.0
        self._summarize, self._on_change, self._keep = summarize, on_change, keep
        self._relist_seconds = relist_seconds
        self._objects: dict[str, S] = {}
        self._stop_requested = threading.Event()
        self._response: urllib3.BaseHTTPResponse | None = None

    def all(self) -> list[S]:
        return list(self._objects.values())

    def stop(self) -> None:
        """Asks the thread to end; an open watch is closed so that it does so at once."""
        self._stop_requested.set()
        response = self._response
        if response is not None:
            _abort(response)

    def run(self) -> None:
        backoff = 0.5
        version = ""
        relist_at = 0.0
        while not self._stop_requested.is_set():
            try:
                if not version or time.monotonic() >= relist_at:
                    version = self._relist()
                    relist_at = time.monotonic() + self._relist_seconds * random.uniform(0.9, 1.1)
                version = self._watch(version, relist_at)
                backoff = 0.5
            except Expired:
                # Usual after a pause, and mended by a list; a server that says so every time is asked less and less.
                version = ""
                self._stop_requested.wait(backoff - 0.5)
                backoff = min(backoff * 2, MAX_BACKOFF)
            except ClusterError as exc:
                if self._stop_requested.is_set():
                    return
                log.warning("watching %s: %s; again in %.1f s", self.kind, exc, backoff)
                # A server that forgot us may have forgotten the version too: the next contact is a list.
                version = "" if not isinstance(exc, Unavailable) or exc.status else version
                self._stop_requested.wait(max(backoff * random.uniform(0.8, 1.2), exc.retry_after or 0))
                backoff = min(backoff * 2, MAX_BACKOFF)
            except Exception:
                # Whatever a server sends, the watch must go on: a dead watch would look like a quiet cluster.
                log.exception("watching %s failed; listing anew", self.kind)
                version = ""
                self._stop_requested.wait(backoff)
                backoff = min(backoff * 2, MAX_BACKOFF)

    def _relist(self) -> str:
        """Takes the server's whole list for the truth; what is not on it is gone."""
        version, found = "", set()
        for page_version, items in self.cluster.list_pages(self.kind, selector=self.selector):
            version = page_version
            for item in items:
                item.setdefault("kind", self.kind)
                found.add(item["metadata"]["uid"])
                self._store(item)
            self.last_contact = time.monotonic()
        for uid in [uid for uid in self._objects if uid not in found]:
            self._forget(uid)
        self.synced.set()
        return version

    def _watch(self, version: str, relist_at: float) -> str:
        seconds = max(1, min(WATCH_SECONDS, int(relist_at - time.monotonic())))
        response = self.cluster.watch_stream(self.kind, selector=self.selector, version=version, seconds=seconds)
        self._response = response
        began, heard = time.monotonic(), False
        try:
            self.last_contact = began
            if self._stop_requested.is_set():
                return version
            for line in _lines(response):
                heard = True
                version = self._take(orjson.loads(line)) or version
                self.last_contact = time.monotonic()
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as exc:
            # A cut in the middle of a line: what was whole has been taken, so the watch resumes behind it.
            if not self._stop_requested.is_set():
                log.info("the watch of %s broke off: %s", self.kind, exc)
                self._stop_requested.wait(0.2)
        finally:
            self._response = None
            response.close()
        if not heard and time.monotonic() - began < 1:
            # A proxy that ends each watch at once would otherwise be asked as fast as it answers.
            self._stop_requested.wait(0.5)
        return version

    def _take(self, event: Object) -> str | None:
        obj = event["object"]
        if event["type"] == "ERROR":
            raise from_response(int(obj.get("code") or 500), orjson.dumps(obj))
        meta = obj["metadata"]
        if event["type"] == "DELETED":
            self._forget(meta["uid"])
        elif event["type"] != "BOOKMARK":
            self._store(obj)
        return str(meta.get("resourceVersion") or "") or None

    def _store(self, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        after = self._summarize(obj)
        before = self._objects.get(uid)
        if after == before:
            return
        if after is None:
            self._forget(uid)
            return
        if self._keep:
            self._objects[uid] = after
        self._on_change(uid, before, after)

    def _forget(self, uid: str) -> None:
        before = self._objects.pop(uid, None)
        if before is not None:
            self._on_change(uid, before, None)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Whole lines as they come; a last, incomplete one is dropped."""
    buffer = bytearray()
    while chunk := response.read1(65536):
        buffer += chunk
        *whole, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        for line in whole:
            if line.strip():
                yield bytes(line)


def _abort(response: urllib3.BaseHTTPResponse) -> None:
    """Ends a read that another thread is waiting in."""
    sock = socket_of(response)
    if sock is not None:
        try:
            sock.shutdown(2)
        except OSError:
            return
