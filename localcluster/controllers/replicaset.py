"""The ReplicaSet controller: so many pods of a template."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from localcluster.controllers.base import Controller
from localcluster.controllers.jobrules import is_active
from localcluster.errors import ApiError
from localcluster.events import Recorder
from localcluster.objects import (
    Obj,
    condition,
    condition_is_true,
    controller_of,
    fresh,
    is_deleting,
    name_of,
    namespace_of,
    owner_reference,
    parse_time,
    uid_of,
)
from localcluster.registry import Registry, ignoring_missing
from localcluster.resources import PODS, REPLICA_SETS
from localcluster.store import Change, Key


class ReplicaSetController(Controller):
    name = "replicaset-controller"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._events = Recorder(registry, self.name)

    def initial_keys(self) -> Iterable[Key]:
        return self.store.keys(REPLICA_SETS.bucket)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == REPLICA_SETS.bucket:
            return (change.item.key,)
        if change.bucket != PODS.bucket:
            return ()
        owner = controller_of(change.item.obj)
        return ((change.item.key[0], owner["name"]),) if owner and owner["kind"] == REPLICA_SETS.kind else ()

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(REPLICA_SETS.bucket, *key)
        if item is None:
            return None
        refused: ApiError | None = None
        if not is_deleting(item.obj):
            refused = self._scale(item.obj)
        again = self._write_status(self.registry.get(REPLICA_SETS, *key).obj)
        if refused is not None:
            raise refused
        return again

    def _pods(self, owner: Obj) -> list[Obj]:
        pods = [item.obj for _, item in self.store.owned_by(uid_of(owner), PODS.bucket)]
        return [pod for pod in pods if is_active(pod)]

    def _scale(self, owner: Obj) -> ApiError | None:
        pods, wanted = self._pods(owner), owner["spec"].get("replicas", 1)
        for pod in sorted(pods, key=_worth)[: max(len(pods) - wanted, 0)]:
            ignoring_missing(lambda pod=pod: self.registry.delete(PODS, namespace_of(pod), name_of(pod)))  # type: ignore[misc]
            self._events.normal(owner, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        template = owner["spec"]["template"]
        for _ in range(wanted - len(pods)):
            pod = {
                "metadata": {
                    **(template.get("metadata") or {}),
                    "generateName": f"{name_of(owner)}-",
                    "ownerReferences": [owner_reference(owner)],
                },
                "spec": template["spec"],
            }
            try:
                created = self.registry.create(PODS, namespace_of(owner), fresh(pod)).obj
            except ApiError as error:
                self._events.warning(owner, "FailedCreate", f"Error creating: {error.message}")
                return error
            self._events.normal(owner, "SuccessfulCreate", f"Created pod: {name_of(created)}")
        return None

    def _write_status(self, owner: Obj) -> float | None:
        pods = self._pods(owner)
        wait = owner["spec"].get("minReadySeconds") or 0
        ready = [pod for pod in pods if condition_is_true(pod, "Ready")]
        ages = [self._ready_for(pod) for pod in ready]
        status: Obj = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": len(ready),
            "availableReplicas": sum(age >= wait for age in ages),
            "observedGeneration": owner["metadata"]["generation"],
        }
        status = {key: value for key, value in status.items() if value or key in ("replicas", "observedGeneration")}
        self.registry.modify(
            REPLICA_SETS,
            namespace_of(owner),
            name_of(owner),
            lambda obj: {**obj, "status": status},
            subresource="status",
        )
        young = [wait - age for age in ages if age < wait]
        return min(young) + 0.01 if young else None

    def _ready_for(self, pod: Obj) -> float:
        entry = condition(pod, "Ready")
        since = parse_time(entry["lastTransitionTime"]) if entry else self.registry.clock.now()
        return (self.registry.clock.now() - since) / timedelta(seconds=1)


def _worth(pod: Obj) -> tuple[bool, bool, bool, float]:
    """Which pod to keep: unscheduled, pending and unready ones go first, then the youngest."""
    created = parse_time(pod["metadata"]["creationTimestamp"]).timestamp()
    return (
        bool(pod["spec"].get("nodeName")),
        (pod.get("status") or {}).get("phase") == "Running",
        condition_is_true(pod, "Ready"),
        -created,
    )
