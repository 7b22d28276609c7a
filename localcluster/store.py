"""The object store: one write path (journal, then index, then watchers), indexes, and a bounded history for watches.

Requires to be used from one thread. Objects handed out are shared: callers must not change them. Every write takes the next
revision, and that is the object's resourceVersion. The JSON of an object is encoded once, at the write.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

from localcluster.errors import expired
from localcluster.journal import Entry, Journal
from localcluster.objects import Obj, encode, labels_of, name_of, namespace_of
from localcluster.selectors import LabelSelector

Key = tuple[str, str]  # namespace, name

K = TypeVar("K")
V = TypeVar("V")

# Revisions begin here, so that a small number is one whose history is not known.
FIRST_REVISION = 100
HISTORY_PER_BUCKET = 5_000
WATCH_BACKLOG = 20_000


@dataclass(slots=True, frozen=True)
class Item:
    """A stored object with its encoded form."""

    obj: Obj
    raw: bytes
    revision: int
    key: Key


@dataclass(slots=True, frozen=True)
class Change:
    kind: str  # ADDED, MODIFIED, DELETED
    bucket: str
    item: Item
    previous: Item | None


@dataclass(eq=False)
class _Bucket:
    items: dict[Key, Item] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)  # sorted
    by_label: dict[tuple[str, str], set[Key]] = field(default_factory=dict)
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=HISTORY_PER_BUCKET))
    history_start: int = 0  # changes after this revision are all in `history`
    watches: set[Watch] = field(default_factory=set)


class Watch:
    """A queue of changes of one bucket; `overflowed` when its reader was too slow."""

    def __init__(self, bucket: _Bucket) -> None:
        self._bucket = bucket
        self._pending: deque[Change] = deque()
        self._wake = asyncio.Event()
        self.overflowed = False
        bucket.watches.add(self)

    def push(self, change: Change) -> None:
        if len(self._pending) >= WATCH_BACKLOG:
            self.overflowed = True
        else:
            self._pending.append(change)
        self._wake.set()

    async def changes(self, timeout: float) -> list[Change]:
        """All changes that wait; an empty list when `timeout` seconds brought none."""
        if not self._pending and not self.overflowed:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        found = list(self._pending)
        self._pending.clear()
        return found

    def close(self) -> None:
        self._bucket.watches.discard(self)
        self._wake.set()


class Store:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._buckets: dict[str, _Bucket] = {}
        self._by_owner: dict[str, set[tuple[str, Key]]] = {}
        self._observers: list[Callable[[Change], None]] = []
        self._transaction: list[Entry] | None = None
        self._waiting: list[Change] = []
        self._history_base = self.revision = FIRST_REVISION
        for entries in journal.load():
            for entry in entries:
                self._replay(*entry)

    def observe(self, observer: Callable[[Change], None]) -> None:
        """Call `observer` after every change. It must be quick and must not write to the store."""
        self._observers.append(observer)

    def get(self, bucket: str, namespace: str, name: str) -> Item | None:
        return self._bucket(bucket).items.get((namespace, name))

    def count(self, bucket: str) -> int:
        return len(self._bucket(bucket).items)

    def keys(self, bucket: str, namespace: str | None = None, selector: LabelSelector | None = None) -> list[Key]:
        """Sorted keys, narrowed by the indexes; label requirements an index cannot answer are left to the caller."""
        box = self._bucket(bucket)
        exact = selector.exact() if selector else []
        if exact:
            found = min((box.by_label.get(pair, set()) for pair in exact), key=len)
            return sorted(key for key in found if namespace is None or key[0] == namespace)
        if namespace is None:
            return list(box.keys)
        first = bisect.bisect_left(box.keys, (namespace, ""))
        return box.keys[first : bisect.bisect_left(box.keys, (namespace + "\0", ""))]

    def items(self, bucket: str, namespace: str | None = None, selector: LabelSelector | None = None) -> list[Item]:
        items = self._bucket(bucket).items
        found = [items[key] for key in self.keys(bucket, namespace, selector)]
        return [item for item in found if selector.matches(labels_of(item.obj))] if selector else found

    def items_at(
        self, revision: int, bucket: str, namespace: str | None = None, selector: LabelSelector | None = None
    ) -> list[Item]:
        """The items as they were at an earlier revision. Raises 410 when the history is too short."""
        box = self._bucket(bucket)
        if revision < box.history_start:
            raise expired(f"too old resource version: {revision} ({box.history_start})")
        before: dict[Key, Item | None] = {}
        for change in reversed(box.history):
            if change.item.revision <= revision:
                break
            before[change.item.key] = change.previous
        if not before:
            return self.items(bucket, namespace, selector)
        then = {item.key: item for item in self.items(bucket, namespace) if item.key not in before}
        then.update({key: item for key, item in before.items() if item and namespace in (None, key[0])})
        found = [then[key] for key in sorted(then)]
        return [item for item in found if selector.matches(labels_of(item.obj))] if selector else found

    def owned_by(self, uid: str, bucket: str | None = None) -> Iterator[tuple[str, Item]]:
        """(bucket, item) of all objects with an ownerReference to `uid`."""
        for name, key in sorted(self._by_owner.get(uid, ())):
            if bucket is None or name == bucket:
                yield name, self._bucket(name).items[key]

    def put(self, bucket: str, obj: Obj) -> Item:
        """Store `obj` (taken over by the store) under its namespace and name."""
        key = (namespace_of(obj), name_of(obj))
        revision = self.revision + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        # Kind first: a list leaves these two out of its items, and finds them at the start of the encoded form.
        obj = {"kind": obj.get("kind"), "apiVersion": obj.get("apiVersion"), **obj}
        item = Item(obj, encode(obj), revision, key)
        self._record((b"P", bucket, item.raw))
        self._apply_put(bucket, item)
        self._dispatch()
        return item

    def remove(self, bucket: str, item: Item) -> Item:
        """Delete; the final state carries the revision of the deletion, as watchers expect."""
        revision = self.revision + 1
        final: Obj = {**item.obj, "metadata": {**item.obj["metadata"], "resourceVersion": str(revision)}}
        last = Item(final, encode(final), revision, item.key)
        self._record((b"D", bucket, last.raw))
        self._apply_remove(bucket, last)
        self._dispatch()
        return last

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Writes inside reach the journal as one frame: after a crash either all are there or none."""
        if self._transaction is not None:
            yield
            return
        self._transaction = []
        try:
            yield
        finally:
            entries, self._transaction = self._transaction, None
            if entries:
                self._journal.append(entries)
            self._dispatch()

    def watch(self, bucket: str, since: int | None) -> tuple[list[Change], Watch]:
        """Changes after revision `since`, and the queue of those to come. Raises 410 when the history is too short."""
        box = self._bucket(bucket)
        past: list[Change] = []
        if since is not None:
            if since < box.history_start:
                raise expired(f"too old resource version: {since} ({box.history_start})")
            start = bisect.bisect_right(box.history, since, key=lambda change: change.item.revision)
            past = [box.history[index] for index in range(start, len(box.history))]
        return past, Watch(box)

    def sync(self) -> None:
        self._journal.sync()

    def compact_if_large(self) -> None:
        if self._journal.wants_compaction():
            self.compact()

    def compact(self) -> None:
        self._journal.compact(self._snapshot)

    def close(self) -> None:
        self._journal.close()

    def _snapshot(self) -> Iterable[list[Entry]]:
        yield [(b"R", str(self.revision), b"")]
        for name, box in self._buckets.items():
            for item in box.items.values():
                yield [(b"P", name, item.raw)]

    def _bucket(self, name: str) -> _Bucket:
        box = self._buckets.get(name)
        if box is None:
            box = self._buckets[name] = _Bucket(history_start=self._history_base)
        return box

    def _record(self, entry: Entry) -> None:
        if self._transaction is None:
            self._journal.append([entry])
        else:
            self._transaction.append(entry)

    def _replay(self, operation: bytes, bucket: str, raw: bytes) -> None:
        if operation == b"R":
            self.revision = self._history_base = int(bucket)
            return
        obj = orjson.loads(raw)
        revision = int(obj["metadata"]["resourceVersion"])
        item = Item(obj, raw, revision, (namespace_of(obj), name_of(obj)))
        if revision <= self.revision:  # part of a compaction's snapshot: state, not history
            self._index(self._bucket(bucket), bucket, item, None)
            return
        if operation == b"P":
            self._apply_put(bucket, item)
        else:
            self._apply_remove(bucket, item)
        self._waiting.clear()

    def _apply_put(self, bucket: str, item: Item) -> None:
        box = self._bucket(bucket)
        previous = box.items.get(item.key)
        self.revision = item.revision
        self._index(box, bucket, item, previous)
        self._remember(box, Change("MODIFIED" if previous else "ADDED", bucket, item, previous))

    def _apply_remove(self, bucket: str, last: Item) -> None:
        box = self._bucket(bucket)
        previous = box.items.pop(last.key)
        del box.keys[bisect.bisect_left(box.keys, last.key)]
        self.revision = last.revision
        self._unindex(box, bucket, previous)
        self._remember(box, Change("DELETED", bucket, last, previous))

    def _remember(self, box: _Bucket, change: Change) -> None:
        if len(box.history) == HISTORY_PER_BUCKET:
            box.history_start = box.history[0].item.revision
        box.history.append(change)
        self._waiting.append(change)

    def _index(self, box: _Bucket, bucket: str, item: Item, previous: Item | None) -> None:
        if previous is None:
            bisect.insort(box.keys, item.key)
        else:
            self._unindex(box, bucket, previous)
        box.items[item.key] = item
        for pair in labels_of(item.obj).items():
            box.by_label.setdefault(pair, set()).add(item.key)
        for reference in item.obj["metadata"].get("ownerReferences") or ():
            self._by_owner.setdefault(reference["uid"], set()).add((bucket, item.key))

    def _unindex(self, box: _Bucket, bucket: str, item: Item) -> None:
        for pair in labels_of(item.obj).items():
            _discard(box.by_label, pair, item.key)
        for reference in item.obj["metadata"].get("ownerReferences") or ():
            _discard(self._by_owner, reference["uid"], (bucket, item.key))

    def _dispatch(self) -> None:
        if self._transaction is not None:
            return
        changes, self._waiting = self._waiting, []
        for change in changes:
            for watch in self._buckets[change.bucket].watches:
                watch.push(change)
            for observer in self._observers:
                observer(change)


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    found = index.get(key)
    if found is None:
        return
    found.discard(value)
    if not found:
        del index[key]
