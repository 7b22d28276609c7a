"""ResourceQuota: what a namespace uses, and the refusal of what would exceed it.

Use is summed from the stored objects at the moment of the question, through the store's indexes; there is no counter that
could drift. Sums are cached per namespace until one of its objects changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from localcluster import errors, quantity
from localcluster.errors import ApiError
from localcluster.objects import Obj, name_of, namespace_of
from localcluster.registry import Registry
from localcluster.resources import BY_BUCKET, PODS, PVCS, RESOURCE_QUOTAS, SERVICES, Resource
from localcluster.scheduler import pod_requests
from localcluster.store import Store

Amounts = dict[str, Decimal]
_COUNTED = frozenset({
    "pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas", "replicationcontrollers",
})  # fmt: skip


class ResourceQuotas:
    def mutate(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        return

    def check(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        if old is not None or not resource.namespaced:
            return
        quotas = registry.store.items(RESOURCE_QUOTAS.bucket, namespace_of(obj))
        if not quotas:
            return
        wanted = usage_of(resource, obj)
        for item in quotas:
            hard = {name: quantity.parse(value) for name, value in (item.obj["spec"].get("hard") or {}).items()}
            if not _in_scope(item.obj, resource, obj):
                continue
            self._check_one(registry, resource, obj, item.obj, hard, wanted)

    def _check_one(
        self, registry: Registry, resource: Resource, obj: Obj, quota: Obj, hard: Amounts, wanted: Amounts
    ) -> None:
        missing = _unspecified(resource, obj, hard)
        if missing:
            why = f"failed quota: {name_of(quota)}: must specify {'; '.join(missing)}"
            raise errors.forbidden(resource, name_of(obj), why)
        relevant = {name: amount for name, amount in wanted.items() if name in hard and amount > 0}
        if not relevant:
            return
        used = used_by(registry.store, quota, relevant)
        exceeded = {name: amount for name, amount in relevant.items() if used[name] + amount > hard[name]}
        if exceeded:
            raise _refusal(resource, obj, quota, exceeded, used, hard)


def used_by(store: Store, quota: Obj, names: Iterable[str]) -> Amounts:
    """The present use of the named resources in the quota's namespace."""
    used: Amounts = dict.fromkeys(names, Decimal(0))
    namespace = namespace_of(quota)
    for bucket in {bucket for name in used for bucket in _buckets(name)}:
        resource = BY_BUCKET[bucket]
        if all(_is_plain_count(name, resource) for name in used if bucket in _buckets(name)) and not _scopes(quota):
            amount = Decimal(len(store.keys(bucket, namespace)))
            if bucket != PODS.bucket:
                used.update({name: amount for name in used if bucket in _buckets(name)})
                continue
        for item in store.items(bucket, namespace):
            if not _in_scope(quota, resource, item.obj):
                continue
            for name, value in usage_of(resource, item.obj).items():
                if name in used:
                    used[name] += value
    return used


def usage_of(resource: Resource, obj: Obj) -> Amounts:
    """What one object counts for, by every name a quota may use."""
    used: Amounts = {f"count/{resource.qualified}": Decimal(1)}
    if resource.bucket in _COUNTED and resource is not PODS:
        used[resource.bucket] = Decimal(1)
    if resource is PODS:
        if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return used
        used["pods"] = Decimal(1)
        for name, amount in pod_requests(obj["spec"]).items():
            used[f"requests.{name}"] = amount
            if name in ("cpu", "memory", "ephemeral-storage"):
                used[name] = amount
        for name, amount in pod_requests(obj["spec"], "limits").items():
            used[f"limits.{name}"] = amount
    if resource is PVCS:
        storage = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")
        used["requests.storage"] = quantity.parse(storage)
    if resource is SERVICES and obj["spec"].get("type") in ("NodePort", "LoadBalancer"):
        used[f"services.{obj['spec']['type'].lower()}s"] = Decimal(1)
    return used


def _buckets(name: str) -> tuple[str, ...]:
    if name.startswith("count/"):
        return (name[6:],) if name[6:] in BY_BUCKET else ()
    if name in _COUNTED:
        return (name,) if name in BY_BUCKET else ()
    if name == "requests.storage":
        return (PVCS.bucket,)
    return (SERVICES.bucket,) if name.startswith("services.") else (PODS.bucket,)


def _is_plain_count(name: str, resource: Resource) -> bool:
    return name in (f"count/{resource.qualified}", resource.bucket)


def _unspecified(resource: Resource, obj: Obj, hard: Amounts) -> list[str]:
    """Compute resources under quota that a container leaves open."""
    if resource is not PODS:
        return []
    found = []
    for name in sorted(hard):
        kind, _, what = name.rpartition(".")
        if what not in ("cpu", "memory") or kind not in ("", "requests", "limits"):
            continue
        without = [
            container["name"]
            for container in obj["spec"].get("containers") or ()
            if what not in ((container.get("resources") or {}).get(kind or "requests") or {})
        ]
        if without:
            found.append(f"{name} for: {','.join(without)}")
    return found


def _refusal(resource: Resource, obj: Obj, quota: Obj, exceeded: Amounts, used: Amounts, hard: Amounts) -> ApiError:
    def show(amounts: Amounts) -> str:
        return ",".join(f"{name}={shown(name, amounts[name], quota)}" for name in sorted(exceeded))

    why = f"exceeded quota: {name_of(quota)}, requested: {show(exceeded)}, used: {show(used)}, limited: {show(hard)}"
    return errors.forbidden(resource, name_of(obj), why)


def shown(name: str, amount: Decimal, quota: Obj) -> str:
    """An amount in the notation its limit is written in."""
    return quantity.render(
        amount, binary=name.endswith(("memory", "storage")) or quantity.is_binary(quota["spec"]["hard"].get(name, ""))
    )


def _scopes(quota: Obj) -> list[str]:
    return list(quota["spec"].get("scopes") or ())


def _in_scope(quota: Obj, resource: Resource, obj: Obj) -> bool:
    scopes = _scopes(quota)
    if not scopes:
        return True
    if resource is not PODS:
        return False
    terminating = obj["spec"].get("activeDeadlineSeconds") is not None
    best_effort = not pod_requests(obj["spec"]) and not pod_requests(obj["spec"], "limits")
    answers = {
        "Terminating": terminating,
        "NotTerminating": not terminating,
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
    }
    return all(answers.get(scope, True) for scope in scopes)
