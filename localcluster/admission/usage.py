"""What the objects of each namespace use, by every name a ResourceQuota may limit.

The sums follow the store's changes, so that a question costs the same with ten pods and with ten thousand.
"""

from __future__ import annotations

from decimal import Decimal

from localcluster.objects import Obj
from localcluster.quantity import parse
from localcluster.resources import BY_BUCKET, PODS, PVCS, SERVICES, Resource
from localcluster.scheduler import pod_requests
from localcluster.store import Change, Store

Amounts = dict[str, Decimal]
COUNTED = frozenset({
    "pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas", "replicationcontrollers",
})  # fmt: skip


class Ledger:
    """The use of each namespace, kept up to date by observing the store."""

    def __init__(self, store: Store) -> None:
        self._sums: dict[str, Amounts] = {}
        for bucket, resource in BY_BUCKET.items():
            if resource.namespaced:
                for item in store.items(bucket):
                    self._add(item.key[0], usage_of(resource, item.obj), 1)
        store.observe(self._observe)

    def used(self, namespace: str, name: str) -> Decimal:
        return self._sums.get(namespace, {}).get(name, Decimal(0))

    def _observe(self, change: Change) -> None:
        resource = BY_BUCKET[change.bucket]
        if not resource.namespaced or (change.kind == "MODIFIED" and not _may_differ(resource, change)):
            return
        namespace = change.item.key[0]
        if change.previous is not None:
            self._add(namespace, usage_of(resource, change.previous.obj), -1)
        if change.kind != "DELETED":
            self._add(namespace, usage_of(resource, change.item.obj), 1)

    def _add(self, namespace: str, amounts: Amounts, sign: int) -> None:
        sums = self._sums.setdefault(namespace, {})
        for name, amount in amounts.items():
            left = sums.get(name, Decimal(0)) + sign * amount
            if left:
                sums[name] = left
            else:
                sums.pop(name, None)
        if not sums:
            del self._sums[namespace]


def usage_of(resource: Resource, obj: Obj) -> Amounts:
    """What one object counts for, by every name a quota may use."""
    used: Amounts = {f"count/{resource.qualified}": Decimal(1)}
    if resource.bucket in COUNTED and resource is not PODS:
        used[resource.bucket] = Decimal(1)
    if resource is PODS:
        used.update(_pod_usage(obj))
    if resource is PVCS:
        storage = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")
        used["requests.storage"] = parse(storage)
    if resource is SERVICES and obj["spec"].get("type") in ("NodePort", "LoadBalancer"):
        used[f"services.{obj['spec']['type'].lower()}s"] = Decimal(1)
    return used


def is_over(pod: Obj) -> bool:
    """A pod that ended no longer uses anything but its place in the count of objects."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _pod_usage(pod: Obj) -> Amounts:
    if is_over(pod):
        return {}
    used: Amounts = {"pods": Decimal(1)}
    for name, amount in pod_requests(pod["spec"]).items():
        used[f"requests.{name}"] = amount
        if name in ("cpu", "memory", "ephemeral-storage"):
            used[name] = amount
    for name, amount in pod_requests(pod["spec"], "limits").items():
        used[f"limits.{name}"] = amount
    return used


def _may_differ(resource: Resource, change: Change) -> bool:
    """Whether a modification can change the use: pods by ending, claims and services by their spec."""
    if resource is PODS and change.previous is not None:
        return is_over(change.item.obj) != is_over(change.previous.obj)
    return resource in (PVCS, SERVICES)
