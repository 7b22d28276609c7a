"""ResourceQuota: the refusal of what would exceed it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from localcluster import errors, quantity
from localcluster.admission.usage import COUNTED, Amounts, Ledger, usage_of
from localcluster.errors import ApiError
from localcluster.objects import Obj, name_of, namespace_of
from localcluster.registry import Registry
from localcluster.resources import BY_BUCKET, PODS, PVCS, RESOURCE_QUOTAS, SERVICES, Resource
from localcluster.scheduler import pod_requests
from localcluster.store import Store


class ResourceQuotas:
    def __init__(self, store: Store) -> None:
        self.ledger = Ledger(store)

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
        used = self.used_by(registry.store, quota, relevant)
        exceeded = {name: amount for name, amount in relevant.items() if used[name] + amount > hard[name]}
        if exceeded:
            raise _refusal(resource, obj, quota, exceeded, used, hard)

    def used_by(self, store: Store, quota: Obj, names: Iterable[str]) -> Amounts:
        """The present use of the named resources, as far as it is in the quota's scopes."""
        namespace = namespace_of(quota)
        if not _scopes(quota):
            return {name: self.ledger.used(namespace, name) for name in names}
        used: Amounts = dict.fromkeys(names, Decimal(0))
        for bucket in {bucket for name in used for bucket in _buckets(name)}:
            for item in store.items(bucket, namespace):
                if _in_scope(quota, BY_BUCKET[bucket], item.obj):
                    for name, value in usage_of(BY_BUCKET[bucket], item.obj).items():
                        used[name] = used[name] + value if name in used else value
        return {name: used[name] for name in names}


def _buckets(name: str) -> tuple[str, ...]:
    if name.startswith("count/"):
        return (name[6:],) if name[6:] in BY_BUCKET else ()
    if name in COUNTED:
        return (name,) if name in BY_BUCKET else ()
    if name == "requests.storage":
        return (PVCS.bucket,)
    return (SERVICES.bucket,) if name.startswith("services.") else (PODS.bucket,)


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
