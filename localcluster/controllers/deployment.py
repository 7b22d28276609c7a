"""The Deployment controller: revisions as ReplicaSets, rolled over within maxSurge and maxUnavailable."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from datetime import timedelta

import orjson

from localcluster.controllers.base import Controller
from localcluster.events import Recorder
from localcluster.objects import (
    NAME_ALPHABET,
    Obj,
    annotations_of,
    condition,
    controller_of,
    fresh,
    is_deleting,
    name_of,
    namespace_of,
    owner_reference,
    parse_time,
    set_condition,
    uid_of,
)
from localcluster.registry import Registry, ignoring_missing
from localcluster.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from localcluster.store import Change, Key

REVISION = "deployment.kubernetes.io/revision"
HASH_LABEL = "pod-template-hash"


class DeploymentController(Controller):
    name = "deployment-controller"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._events = Recorder(registry, self.name)

    def initial_keys(self) -> Iterable[Key]:
        return self.store.keys(DEPLOYMENTS.bucket)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == DEPLOYMENTS.bucket:
            return (change.item.key,)
        if change.bucket == PODS.bucket and change.kind == "DELETED":
            return self._of_pod(change.item.obj)
        if change.bucket != REPLICA_SETS.bucket:
            return ()
        owner = controller_of(change.item.obj)
        return ((change.item.key[0], owner["name"]),) if owner and owner["kind"] == DEPLOYMENTS.kind else ()

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(DEPLOYMENTS.bucket, *key)
        if item is None or is_deleting(item.obj):
            return None
        deployment = item.obj
        sets = self._sets(deployment)
        current = next((rs for rs in sets if _same_template(rs, deployment)), None)
        paused = bool(deployment["spec"].get("paused"))
        if current is None and not paused:
            current = self._new_set(deployment, sets)
        elif current is not None and not paused:
            self._raise_revision(deployment, current, sets)
        others = [rs for rs in self._sets(deployment) if current is None or uid_of(rs) != uid_of(current)]
        current = self._reload(current)
        if paused:
            self._follow_replicas(deployment, current, others)
        elif deployment["spec"]["strategy"].get("type") == "Recreate":
            self._recreate(deployment, current, others)
        elif current is not None:
            self._roll(deployment, current, others)
        again = self._write_status(key, current)
        self._clean_up(deployment, others)
        return again

    def _of_pod(self, pod: Obj) -> Iterable[Key]:
        """A Recreate deployment waits for the last old pod to be gone."""
        owner = controller_of(pod)
        item = self.store.get(REPLICA_SETS.bucket, namespace_of(pod), owner["name"]) if owner else None
        above = controller_of(item.obj) if item else None
        return ((namespace_of(pod), above["name"]),) if above and above["kind"] == DEPLOYMENTS.kind else ()

    def _sets(self, deployment: Obj) -> list[Obj]:
        found = [item.obj for _, item in self.store.owned_by(uid_of(deployment), REPLICA_SETS.bucket)]
        return sorted((rs for rs in found if not is_deleting(rs)), key=lambda rs: (_revision(rs), name_of(rs)))

    def _reload(self, rs: Obj | None) -> Obj | None:
        return self.registry.get(REPLICA_SETS, namespace_of(rs), name_of(rs)).obj if rs is not None else None

    def _new_set(self, deployment: Obj, sets: list[Obj]) -> Obj:
        spec = deployment["spec"]
        template = fresh(spec["template"])
        suffix = template_hash(template)
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[HASH_LABEL] = suffix
        selector = fresh(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = suffix
        name = f"{name_of(deployment)}-{suffix}"
        revision = max((_revision(rs) for rs in sets), default=0) + 1
        copied = {
            key: v for key, v in annotations_of(deployment).items() if not key.startswith("kubectl.kubernetes.io/")
        }
        obj = {
            "metadata": {
                "name": name,
                "labels": dict(labels),
                "annotations": {**copied, REVISION: str(revision)},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "template": template,
                **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            },
        }
        created = self.registry.create(REPLICA_SETS, namespace_of(deployment), obj).obj
        self._annotate(deployment, revision)
        now = self.registry.now()
        self._progress(deployment, "True", now, "NewReplicaSetCreated", f'Created new replica set "{name}"')
        return created

    def _raise_revision(self, deployment: Obj, current: Obj, sets: list[Obj]) -> None:
        """A rollback makes an old ReplicaSet the newest revision again."""
        newest = max((_revision(rs) for rs in sets), default=1)
        if _revision(current) < newest:

            def raise_it(rs: Obj) -> None:
                rs["metadata"].setdefault("annotations", {})[REVISION] = str(newest + 1)

            self.registry.modify(REPLICA_SETS, namespace_of(current), name_of(current), raise_it)
            newest += 1
        self._annotate(deployment, newest)

    def _annotate(self, deployment: Obj, revision: int) -> None:
        def annotate(obj: Obj) -> None:
            obj["metadata"].setdefault("annotations", {})[REVISION] = str(revision)

        self.registry.modify(DEPLOYMENTS, namespace_of(deployment), name_of(deployment), annotate)

    def _roll(self, deployment: Obj, current: Obj, others: list[Obj]) -> None:
        wanted = deployment["spec"].get("replicas", 1)
        surge, unavailable = _bounds(deployment, wanted)
        total = sum(rs["spec"]["replicas"] for rs in (current, *others))
        size = current["spec"]["replicas"]
        if size > wanted:
            self._resize(deployment, current, wanted)
        elif size < wanted:
            room = wanted + surge - total
            if room > 0:
                self._resize(deployment, current, min(size + room, wanted))
        current = self._reload(current) or current
        self._shrink_others(deployment, current, others, wanted - unavailable)

    def _shrink_others(self, deployment: Obj, current: Obj, others: list[Obj], minimum: int) -> None:
        """Old pods go as far as enough available ones remain; unavailable ones first."""
        total = sum(rs["spec"]["replicas"] for rs in (current, *others))
        new_unavailable = current["spec"]["replicas"] - _count(current, "availableReplicas")
        budget = total - minimum - new_unavailable
        for rs in others:
            broken = rs["spec"]["replicas"] - _count(rs, "availableReplicas")
            step = min(broken, budget)
            if step > 0:
                self._resize(deployment, rs, rs["spec"]["replicas"] - step)
                budget -= step
        others = [self._reload(rs) or rs for rs in others]
        spare = _count(current, "availableReplicas") + sum(_count(rs, "availableReplicas") for rs in others) - minimum
        for rs in others:
            step = min(rs["spec"]["replicas"], spare)
            if step > 0:
                self._resize(deployment, rs, rs["spec"]["replicas"] - step)
                spare -= step

    def _recreate(self, deployment: Obj, current: Obj | None, others: list[Obj]) -> None:
        for rs in others:
            self._resize(deployment, rs, 0)
        left = [item for rs in others for _, item in self.store.owned_by(uid_of(rs), PODS.bucket)]
        alive = [item for item in left if item.obj["status"].get("phase") not in ("Succeeded", "Failed")]
        if not alive and current is not None:
            self._resize(deployment, current, deployment["spec"].get("replicas", 1))

    def _follow_replicas(self, deployment: Obj, current: Obj | None, others: list[Obj]) -> None:
        """A paused deployment may still be scaled; its one active ReplicaSet follows."""
        active = [rs for rs in ([current] if current else []) + others if rs["spec"]["replicas"]]
        if len(active) == 1:
            self._resize(deployment, active[0], deployment["spec"].get("replicas", 1))

    def _resize(self, deployment: Obj, rs: Obj, size: int) -> None:
        before = rs["spec"]["replicas"]
        if before == size:
            return

        def change(obj: Obj) -> None:
            obj["spec"]["replicas"] = size

        self.registry.modify(REPLICA_SETS, namespace_of(rs), name_of(rs), change)
        direction = "up" if size > before else "down"
        message = f"Scaled {direction} replica set {name_of(rs)} from {before} to {size}"
        self._events.normal(deployment, "ScalingReplicaSet", message)

    def _write_status(self, key: Key, current: Obj | None) -> float | None:
        deployment = self.registry.get(DEPLOYMENTS, *key).obj
        sets = self._sets(deployment)
        current = self._reload(current)
        wanted = deployment["spec"].get("replicas", 1)
        counts = {
            "replicas": sum(_count(rs, "replicas") for rs in sets),
            "updatedReplicas": _count(current, "replicas"),
            "readyReplicas": sum(_count(rs, "readyReplicas") for rs in sets),
            "availableReplicas": sum(_count(rs, "availableReplicas") for rs in sets),
        }
        counts["unavailableReplicas"] = max(max(counts["replicas"], wanted) - counts["availableReplicas"], 0)
        now = self.registry.now()
        status: Obj = {"observedGeneration": deployment["metadata"]["generation"]}
        status.update({name: count for name, count in counts.items() if count})
        status["conditions"] = fresh({"c": (deployment.get("status") or {}).get("conditions") or []})["c"]
        _, unavailable = _bounds(deployment, wanted)
        if counts["availableReplicas"] >= wanted - unavailable:
            reason, message = "MinimumReplicasAvailable", "Deployment has minimum availability."
            set_condition(status, "Available", "True", now, reason=reason, message=message, lastUpdateTime=now)
        else:
            reason, message = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
            set_condition(status, "Available", "False", now, reason=reason, message=message, lastUpdateTime=now)
        again = self._judge_progress(deployment, status, current, wanted, counts, now)
        _keep_update_times(status, deployment)
        self.registry.modify(DEPLOYMENTS, *key, _putting(status), subresource="status")
        return again

    def _judge_progress(
        self, deployment: Obj, status: Obj, current: Obj | None, wanted: int, counts: dict[str, int], now: str
    ) -> float | None:
        """Progressing: complete, under way, or stuck for longer than progressDeadlineSeconds."""
        if deployment["spec"].get("paused") or current is None:
            set_condition(
                status, "Progressing", "Unknown", now,
                reason="DeploymentPaused", message="Deployment is paused", lastUpdateTime=now,
            )  # fmt: skip
            return None
        name = name_of(current)
        done = counts["updatedReplicas"] == wanted == counts["replicas"] == counts["availableReplicas"]
        if done:
            message = f'ReplicaSet "{name}" has successfully progressed.'
            self._set_progress(status, "True", now, "NewReplicaSetAvailable", message)
            return None
        old = deployment.get("status") or {}
        known = condition(deployment, "Progressing")
        moved = any(
            counts[field] > old.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
        )
        moved = moved or counts["replicas"] - counts["updatedReplicas"] < old.get("replicas", 0) - old.get(
            "updatedReplicas", 0
        )
        restarted = known is None or known.get("reason") in ("NewReplicaSetAvailable", "DeploymentPaused")
        message = f'ReplicaSet "{name}" is progressing.'
        if moved or restarted or known is None:
            self._set_progress(status, "True", now, "ReplicaSetUpdated", message)
            return float(deployment["spec"].get("progressDeadlineSeconds", 600)) + 0.5
        if known["status"] == "False":
            return None
        since = parse_time(known.get("lastUpdateTime") or known["lastTransitionTime"])
        deadline = timedelta(seconds=deployment["spec"].get("progressDeadlineSeconds", 600))
        left = (since + deadline - self.registry.clock.now()).total_seconds()
        if left > 0:
            return left + 0.1
        text = f'ReplicaSet "{name}" has timed out progressing.'
        self._set_progress(status, "False", now, "ProgressDeadlineExceeded", text)
        return None

    def _set_progress(self, status: Obj, value: str, now: str, reason: str, message: str) -> None:
        set_condition(status, "Progressing", value, now, reason=reason, message=message, lastUpdateTime=now)

    def _progress(self, deployment: Obj, value: str, now: str, reason: str, message: str) -> None:
        def change(obj: Obj) -> None:
            self._set_progress(obj.setdefault("status", {}), value, now, reason, message)

        self.registry.modify(DEPLOYMENTS, namespace_of(deployment), name_of(deployment), change, subresource="status")

    def _clean_up(self, deployment: Obj, others: list[Obj]) -> None:
        """Old, empty ReplicaSets beyond revisionHistoryLimit."""
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        empty = [rs for rs in others if not rs["spec"]["replicas"] and not _count(rs, "replicas")]
        for rs in empty[: max(len(empty) - limit, 0)]:
            ignoring_missing(lambda rs=rs: self.registry.delete(REPLICA_SETS, namespace_of(rs), name_of(rs)))  # type: ignore[misc]


def template_hash(template: Obj) -> str:
    """A short, stable name part for a pod template."""
    number = int.from_bytes(hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).digest()[:8], "big")
    text = ""
    for _ in range(10):
        number, digit = divmod(number, len(NAME_ALPHABET))
        text += NAME_ALPHABET[digit]
    return text


def _same_template(rs: Obj, deployment: Obj) -> bool:
    template = fresh(rs["spec"]["template"])
    template["metadata"].get("labels", {}).pop(HASH_LABEL, None)
    wanted = fresh(deployment["spec"]["template"])
    for side in (template, wanted):
        side["metadata"] = {key: value for key, value in (side.get("metadata") or {}).items() if value}
    return template == wanted


def _bounds(deployment: Obj, wanted: int) -> tuple[int, int]:
    """maxSurge (rounded up) and maxUnavailable (rounded down) as numbers; never both zero."""
    rolling = deployment["spec"]["strategy"].get("rollingUpdate") or {}
    if deployment["spec"]["strategy"].get("type") == "Recreate":
        return 0, 0
    surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    return surge, unavailable if surge or unavailable else 1


def _share(value: object, wanted: int, rounding: Callable[[float], int]) -> int:
    text = str(value)
    return int(rounding(int(text[:-1]) * wanted / 100)) if text.endswith("%") else int(text)


def _count(rs: Obj | None, field: str) -> int:
    return int(((rs or {}).get("status") or {}).get(field, 0))


def _revision(rs: Obj) -> int:
    text = annotations_of(rs).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _keep_update_times(status: Obj, deployment: Obj) -> None:
    """lastUpdateTime moves only when the condition says something else than before."""
    for entry in status["conditions"]:
        old = condition(deployment, entry["type"])
        same = old is not None and all(old.get(key) == entry.get(key) for key in ("status", "reason", "message"))
        if same and old is not None and entry.get("reason") != "ReplicaSetUpdated":
            entry["lastUpdateTime"] = old.get("lastUpdateTime", entry.get("lastUpdateTime"))


def _putting(status: Obj) -> Callable[[Obj], Obj]:
    return lambda obj: {**obj, "status": status}
