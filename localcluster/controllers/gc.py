"""Owner garbage collection: dependents of what is gone, foreground and orphaning deletions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from localcluster.controllers.base import Controller
from localcluster.deletion import FOREGROUND, ORPHAN
from localcluster.objects import Obj, is_deleting, uid_of
from localcluster.registry import Registry, ignoring_missing
from localcluster.resources import BY_BUCKET
from localcluster.store import Change, Item, Key


class GarbageCollector(Controller):
    """Its keys are ("", owner uid): the dependents of one owner, alive, leaving or gone."""

    name = "garbage-collector"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._leaving: dict[str, tuple[str, Key]] = {}  # owners that wait for us, by uid

    def initial_keys(self) -> Iterable[Key]:
        for bucket in BY_BUCKET:
            for item in self.store.items(bucket):
                yield from self._keys(bucket, item)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if (
            change.kind == "MODIFIED"
            and not is_deleting(change.item.obj)
            and _owners(change.item) == _owners(change.previous)
        ):
            return ()
        if change.kind != "DELETED":
            return self._keys(change.bucket, change.item)
        uid = uid_of(change.item.obj)
        self._leaving.pop(uid, None)
        return [*(("", reference["uid"]) for reference in _owners(change.item)), ("", uid)]

    def reconcile(self, key: Key) -> float | None:
        uid = key[1]
        dependents = list(self.store.owned_by(uid))
        owner = self._owner(uid, dependents)
        if owner is None:
            for bucket, item in dependents:
                self._collect(bucket, item)
            return None
        bucket, item = owner
        finalizers = item.obj["metadata"].get("finalizers") or ()
        if ORPHAN in finalizers:
            for dependent_bucket, dependent in dependents:
                self._abandon(dependent_bucket, dependent, uid)
            self._drop_finalizer(bucket, item, ORPHAN)
        elif FOREGROUND in finalizers:
            self._foreground(bucket, item, dependents)
        return None

    def _keys(self, bucket: str, item: Item) -> list[Key]:
        keys = [("", reference["uid"]) for reference in _owners(item)]
        if is_deleting(item.obj) and {FOREGROUND, ORPHAN} & set(item.obj["metadata"].get("finalizers") or ()):
            self._leaving[uid_of(item.obj)] = (bucket, item.key)
            keys.append(("", uid_of(item.obj)))
        return keys

    def _owner(self, uid: str, dependents: list[tuple[str, Item]]) -> tuple[str, Item] | None:
        """The owner, found through its dependents' references, or among those known to be leaving."""
        for _, dependent in dependents:
            for reference in dependent.obj["metadata"]["ownerReferences"]:
                found = self._lookup(reference, dependent.key[0]) if reference["uid"] == uid else None
                if found is not None:
                    return found
        bucket, key = self._leaving.get(uid, ("", ("", "")))
        item = self.store.get(bucket, *key) if bucket else None
        return (bucket, item) if item is not None and uid_of(item.obj) == uid else None

    def _lookup(self, reference: Obj, namespace: str) -> tuple[str, Item] | None:
        for bucket, resource in BY_BUCKET.items():
            if (resource.api_version, resource.kind) != (reference.get("apiVersion"), reference.get("kind")):
                continue
            item = self.store.get(bucket, namespace if resource.namespaced else "", reference.get("name", ""))
            if item is not None and uid_of(item.obj) == reference["uid"]:
                return bucket, item
        return None

    def _collect(self, bucket: str, item: Item) -> None:
        """Delete a dependent none of whose owners is left; else forget the owners that are gone."""
        references = item.obj["metadata"]["ownerReferences"]
        alive = [reference for reference in references if self._lookup(reference, item.key[0])]
        resource = BY_BUCKET[bucket]
        if alive:
            ignoring_missing(lambda: self.registry.modify(resource, *item.key, _with_owners(alive)))
        elif not is_deleting(item.obj):
            self._delete(bucket, item, "Background")

    def _delete(self, bucket: str, item: Item, policy: str) -> None:
        options = {"propagationPolicy": policy, "preconditions": {"uid": uid_of(item.obj)}}
        ignoring_missing(lambda: self.registry.delete(BY_BUCKET[bucket], *item.key, options))

    def _abandon(self, bucket: str, item: Item, uid: str) -> None:
        kept = [reference for reference in item.obj["metadata"]["ownerReferences"] if reference["uid"] != uid]
        ignoring_missing(lambda: self.registry.modify(BY_BUCKET[bucket], *item.key, _with_owners(kept)))

    def _foreground(self, bucket: str, owner: Item, dependents: list[tuple[str, Item]]) -> None:
        uid = uid_of(owner.obj)
        for dependent_bucket, item in dependents:
            if not is_deleting(item.obj):
                self._delete(dependent_bucket, item, "Foreground")
        blocking = [
            item
            for _, item in self.store.owned_by(uid)
            for reference in item.obj["metadata"]["ownerReferences"]
            if reference["uid"] == uid and reference.get("blockOwnerDeletion")
        ]
        if not blocking:
            self._drop_finalizer(bucket, owner, FOREGROUND)

    def _drop_finalizer(self, bucket: str, item: Item, finalizer: str) -> None:
        def drop(obj: Obj) -> None:
            obj["metadata"]["finalizers"] = [e for e in obj["metadata"].get("finalizers") or () if e != finalizer]

        ignoring_missing(lambda: self.registry.modify(BY_BUCKET[bucket], *item.key, drop))


def _with_owners(references: list[Obj]) -> Callable[[Obj], None]:
    def change(obj: Obj) -> None:
        obj["metadata"]["ownerReferences"] = references

    return change


def _owners(item: Item | None) -> list[Obj]:
    return (item.obj["metadata"].get("ownerReferences") or []) if item else []
