"""What the reconciler has in view of the teams' namespaces: kept by one watch for each kind, compared from memory.

Only what a comparison needs is kept of an object. A ResourceQuota's counters change with every pod; they are no part of it, so
that they cost nothing.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from platform_portal import names
from platform_portal.kube.cluster import Cluster, Object
from platform_portal.kube.resources import RESOURCES
from platform_portal.kube.watch import Informer
from tenants import drift, manifests
from tenants.manifests import TenantWish
from tenants.namespaces import NAMESPACE, Key, key_of

KINDS = ("Namespace", "ResourceQuota", "LimitRange", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")
# What we name of any kind, below which everything is kept.
PARTS = ("spec", "rules", "roleRef", "subjects", "automountServiceAccountToken")


@dataclass(frozen=True)
class Kept:
    """One object; ``content`` has the shape of a manifest. Equal ones are no change."""

    kind: str
    namespace: str
    name: str
    uid: str
    terminating: bool
    # While a namespace is being deleted: what Kubernetes says of it.
    told: str
    content: Object


@dataclass(frozen=True)
class Suspect:
    """An object that does not seem to stand as wanted, and where it differs."""

    key: Key
    paths: tuple[str, ...]


class NamespaceView:
    """``changed`` is told a team's slug, and the kind, whenever something of its namespace is different; from any thread."""

    def __init__(self, cluster: Cluster, changed: Callable[[str, str], None]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._objects: dict[str, dict[Key, Kept]] = {}
        self.informers: dict[str, Informer[Kept]] = {
            kind: Informer(cluster, kind, selector=names.SELECTOR, summarize=_summary(kind), on_change=self._on_change)
            for kind in KINDS
        }

    def start(self) -> None:
        for informer in self.informers.values():
            informer.start()

    def stop(self) -> None:
        for informer in self.informers.values():
            informer.stop()
        for informer in self.informers.values():
            if informer.is_alive():
                informer.join(timeout=5)

    @property
    def synced(self) -> bool:
        return all(informer.synced.is_set() for informer in self.informers.values())

    def suspects(self, wish: TenantWish) -> list[Suspect]:
        """What differs, as far as is in view; nothing before everything has been listed once."""
        if not self.synced:
            return []
        with self._lock:
            standing = dict(self._objects.get(wish.namespace, {}))
        found = []
        for obj in manifests.objects(wish):
            kept = standing.get(key_of(obj))
            paths = tuple(drift.differences(obj, kept.content if kept else None)[0])
            if kept is not None and kept.terminating:
                paths = (*paths, "metadata.deletionTimestamp")
            if paths:
                found.append(Suspect(key_of(obj), paths))
        return found

    def _on_change(self, uid: str, before: Kept | None, after: Kept | None) -> None:
        kept = after or before
        assert kept is not None
        with self._lock:
            of_namespace = self._objects.setdefault(kept.namespace, {})
            standing = of_namespace.get((kept.kind, kept.name))
            if after is not None:
                of_namespace[kept.kind, kept.name] = after
            elif standing is not None and standing.uid == uid:
                # Not the one that was made anew under the name before the old one was reported gone.
                del of_namespace[kept.kind, kept.name]
            if not of_namespace:
                del self._objects[kept.namespace]
        if kept.namespace.startswith(names.NAMESPACE_PREFIX):
            self._changed(kept.namespace.removeprefix(names.NAMESPACE_PREFIX), kept.kind)


def _summary(kind: str) -> Callable[[Object], Kept]:
    def keep(obj: Object) -> Kept:
        meta = obj["metadata"]
        namespace = meta["name"] if kind == NAMESPACE else meta["namespace"]
        content: dict[str, Any] = {"apiVersion": RESOURCES[kind].api_version, "kind": kind}
        content["metadata"] = {"name": meta["name"], "labels": meta.get("labels") or {}}
        told = ""
        if kind == NAMESPACE:
            conditions = (obj.get("status") or {}).get("conditions") or []
            told = "; ".join(str(one.get("message")) for one in conditions if one.get("status") == "True")
        else:
            content["metadata"]["namespace"] = namespace
            content |= {part: obj[part] for part in PARTS if part in obj}
        return Kept(kind, namespace, meta["name"], meta["uid"], bool(meta.get("deletionTimestamp")), told, content)

    return keep
