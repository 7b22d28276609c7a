"""Namespaces: a default ServiceAccount in each, and the emptying of one that is being deleted."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from localcluster.controllers.base import Controller
from localcluster.errors import ApiError
from localcluster.objects import Obj, is_deleting, set_condition
from localcluster.registry import ignoring_missing
from localcluster.resources import BY_BUCKET, CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, Resource
from localcluster.store import Change, Item, Key

_LOOK_AGAIN = 1.0


class NamespaceController(Controller):
    name = "namespace-controller"

    def initial_keys(self) -> Iterable[Key]:
        return self.store.keys(NAMESPACES.bucket)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == NAMESPACES.bucket:
            return (change.item.key,)
        if change.kind != "DELETED":
            return ()
        namespace = self.store.get(NAMESPACES.bucket, "", change.item.key[0])
        recreated = change.bucket in (SERVICE_ACCOUNTS.bucket, CONFIG_MAPS.bucket)
        return (("", change.item.key[0]),) if namespace and (is_deleting(namespace.obj) or recreated) else ()

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(NAMESPACES.bucket, *key)
        if item is None:
            return None
        if is_deleting(item.obj):
            return self._empty(key[1])
        account = {"metadata": {"name": "default"}}
        if self.store.get(SERVICE_ACCOUNTS.bucket, key[1], "default") is None:
            ignoring_missing(lambda: self.registry.create(SERVICE_ACCOUNTS, key[1], account))
        return None

    def _empty(self, namespace: str) -> float | None:
        options = {"propagationPolicy": "Background"}
        for resource, item in self._contents(namespace):
            if not is_deleting(item.obj):
                ignoring_missing(partial(self.registry.delete, resource, *item.key, options))
        left = self._contents(namespace)
        if left:
            self._report(namespace, left)
            return _LOOK_AGAIN
        self.registry.modify(NAMESPACES, "", namespace, _finalize, subresource="finalize")
        return None

    def _contents(self, namespace: str) -> list[tuple[Resource, Item]]:
        return [
            (resource, item)
            for bucket, resource in BY_BUCKET.items()
            if resource.namespaced
            for item in self.store.items(bucket, namespace)
        ]

    def _report(self, namespace: str, left: list[tuple[Resource, Item]]) -> None:
        counts: dict[str, int] = {}
        for resource, _ in left:
            counts[resource.qualified] = counts.get(resource.qualified, 0) + 1
        text = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(counts.items()))
        now = self.registry.now()

        def mark(obj: Obj) -> None:
            set_condition(
                obj.setdefault("status", {}),
                "NamespaceContentRemaining",
                "True",
                now,
                reason="SomeResourcesRemain",
                message=f"Some resources are remaining: {text}",
            )

        try:
            self.registry.modify(NAMESPACES, "", namespace, mark, subresource="status")
        except ApiError as error:
            self.log.warning("namespace %s: %s", namespace, error)


def _finalize(obj: Obj) -> None:
    obj["spec"]["finalizers"] = []
