"""HorizontalPodAutoscalers without metrics: the target's replicas are kept between the minimum and the maximum."""

from __future__ import annotations

from collections.abc import Iterable

from localcluster.controllers.base import Controller
from localcluster.objects import Obj, fresh, is_deleting, set_condition
from localcluster.registry import ignoring_missing
from localcluster.resources import BY_KIND, DEPLOYMENTS, HPAS, REPLICA_SETS, Resource
from localcluster.store import Change, Item, Key


class AutoscalerController(Controller):
    name = "horizontal-pod-autoscaler"

    def initial_keys(self) -> Iterable[Key]:
        return self.store.keys(HPAS.bucket)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == HPAS.bucket:
            return (change.item.key,)
        if change.bucket not in (DEPLOYMENTS.bucket, REPLICA_SETS.bucket) or change.kind == "DELETED":
            return ()
        return self.store.keys(HPAS.bucket, change.item.key[0])

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(HPAS.bucket, *key)
        if item is None or is_deleting(item.obj):
            return None
        found = self._target(item)
        if found is None:
            self._write(key, item.obj, 0, 0, "FailedGetScale", "the target of the autoscaler does not exist")
            return None
        resource, target = found
        spec, replicas = item.obj["spec"], target.obj["spec"].get("replicas", 1)
        # An owner that scaled to zero switched autoscaling off.
        wanted = min(max(replicas, spec.get("minReplicas", 1)), spec["maxReplicas"]) if replicas else 0
        if wanted != replicas:
            self._scale(resource, target.key, wanted)
        current = (target.obj.get("status") or {}).get("replicas", 0)
        self._write(key, item.obj, current, wanted, "SucceededGetScale", "the target's current scale is known")
        return None

    def _target(self, item: Item) -> tuple[Resource, Item] | None:
        reference = item.obj["spec"]["scaleTargetRef"]
        resource = BY_KIND.get((reference.get("apiVersion", ""), reference.get("kind", "")))
        if resource not in (DEPLOYMENTS, REPLICA_SETS):
            return None
        target = self.registry.find(resource, item.key[0], reference["name"])
        return (resource, target) if target is not None else None

    def _scale(self, resource: Resource, key: Key, wanted: int) -> None:
        def change(obj: Obj) -> None:
            obj["spec"]["replicas"] = wanted

        ignoring_missing(lambda: self.registry.modify(resource, *key, change))

    def _write(self, key: Key, hpa: Obj, current: int, desired: int, reason: str, message: str) -> None:
        status = fresh(hpa.get("status") or {})
        status.update(currentReplicas=current, desiredReplicas=desired, currentMetrics=None)
        able = "True" if reason.startswith("Succeeded") else "False"
        set_condition(status, "AbleToScale", able, self.registry.now(), reason=reason, message=message)
        ignoring_missing(
            lambda: self.registry.modify(HPAS, *key, lambda obj: {**obj, "status": status}, subresource="status")
        )
