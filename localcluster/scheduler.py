"""Binds pending pods to the one node while its capacity lasts, and says why a pod has to wait."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import islice

from localcluster import quantity
from localcluster.controllers.base import Controller
from localcluster.events import Recorder
from localcluster.objects import Obj, condition, fresh, is_deleting, labels_of, set_condition
from localcluster.registry import Registry
from localcluster.resources import NODES, PODS
from localcluster.store import Change, Key

Amounts = dict[str, Decimal]
# How many waiting pods are looked at again when room is made.
TRIED_AT_ONCE = 200


class Scheduler(Controller):
    name = "default-scheduler"

    def __init__(self, registry: Registry, node_name: str) -> None:
        super().__init__(registry)
        self._node_name = node_name
        self._events = Recorder(registry, self.name)
        self._bound: dict[Key, Amounts] = {}
        self._used: Amounts = {}
        self._waiting: dict[Key, None] = {}

    def initial_keys(self) -> Iterable[Key]:
        for item in self.store.items(PODS.bucket):
            self._account(item.key, item.obj)
            if not item.obj["spec"].get("nodeName"):
                yield item.key

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == NODES.bucket:
            return list(self._waiting)
        if change.bucket != PODS.bucket:
            return ()
        key = change.item.key
        freed = self._account(key, None if change.kind == "DELETED" else change.item.obj)
        if change.kind == "DELETED":
            self._waiting.pop(key, None)
            return self._next() if freed else ()
        if not change.item.obj["spec"].get("nodeName"):
            return (key,) if change.kind == "ADDED" or freed else ()
        return self._next() if freed else ()

    def _next(self) -> list[Key]:
        return list(islice(self._waiting, TRIED_AT_ONCE))

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(PODS.bucket, *key)
        if item is None or item.obj["spec"].get("nodeName") or is_deleting(item.obj):
            self._waiting.pop(key, None)
            return None
        if item.obj["spec"].get("schedulingGates") or _is_over(item.obj):
            return None
        node = self.store.get(NODES.bucket, "", self._node_name)
        reason = _refusal(item.obj, node.obj if node else None, self._used, len(self._bound))
        if reason:
            # Last in the queue again: with many waiting, each chance goes to some of them, in turn.
            self._waiting.pop(key, None)
            self._waiting[key] = None
            self._mark_waiting(item.obj, key, reason)
            return None
        self._waiting.pop(key, None)
        self._bind(key)
        return None

    def _bind(self, key: Key) -> None:
        # Binding is the one change of a pod's spec the update rules do not allow, hence the store and not the registry.
        pod = fresh(self.registry.get(PODS, *key).obj)
        pod["spec"]["nodeName"] = self._node_name
        set_condition(pod.setdefault("status", {}), "PodScheduled", "True", self.registry.now())
        item = self.store.put(PODS.bucket, pod)
        message = f"Successfully assigned {key[0]}/{key[1]} to {self._node_name}"
        self._events.normal(item.obj, "Scheduled", message)

    def _mark_waiting(self, pod: Obj, key: Key, message: str) -> None:
        known = condition(pod, "PodScheduled")
        if known and known.get("message") == message:
            return
        now = self.registry.now()

        def mark(copy: Obj) -> None:
            status = copy.setdefault("status", {})
            set_condition(status, "PodScheduled", "False", now, reason="Unschedulable", message=message)

        item = self.registry.modify(PODS, *key, mark, subresource="status")
        self._events.warning(item.obj, "FailedScheduling", message)

    def _account(self, key: Key, pod: Obj | None) -> bool:
        """Keep the sums of what bound pods request; True when something became free."""
        holds = pod is not None and bool(pod["spec"].get("nodeName")) and not _is_over(pod)
        known = self._bound.get(key)
        if holds and known is None and pod is not None:
            amounts = self._bound[key] = pod_requests(pod["spec"])
            for name, amount in amounts.items():
                self._used[name] = self._used.get(name, Decimal(0)) + amount
        if holds or known is None:
            return False
        for name, amount in self._bound.pop(key).items():
            self._used[name] -= amount
        return True


def pod_requests(spec: Obj, kind: str = "requests") -> Amounts:
    """Effective requests (or limits): the sum over containers, or the largest init container where that is more."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(kind) or {}).items():
            total[name] = total.get(name, Decimal(0)) + quantity.parse(value)
    for container in spec.get("initContainers") or ():
        for name, value in ((container.get("resources") or {}).get(kind) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity.parse(value))
    return total


def _refusal(pod: Obj, node: Obj | None, used: Amounts, pods: int) -> str:
    """Why the pod does not fit, in the words of Kubernetes; empty when it does."""
    if node is None:
        return "no nodes available to schedule pods"
    tail = " preemption: 0/1 nodes are available: 1 {}."
    spec = pod["spec"]
    if (node.get("spec") or {}).get("unschedulable"):
        return "0/1 nodes are available: 1 node(s) were unschedulable." + tail.format(
            "Preemption is not helpful for scheduling"
        )
    if not _selector_fits(spec, labels_of(node)):
        return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + tail.format(
            "Preemption is not helpful for scheduling"
        )
    free = {name: quantity.parse(value) for name, value in node["status"]["allocatable"].items()}
    short = ["Too many pods"] if pods + 1 > free.get("pods", Decimal(0)) else []
    never = False
    for name, wanted in sorted(pod_requests(spec).items()):
        if wanted and used.get(name, Decimal(0)) + wanted > free.get(name, Decimal(0)):
            short.append(f"Insufficient {name}")
            never = never or wanted > free.get(name, Decimal(0))
    if not short:
        return ""
    preemption = "Preemption is not helpful for scheduling" if never else "No preemption victims found for incoming pod"
    return f"0/1 nodes are available: {', '.join('1 ' + entry for entry in short)}." + tail.format(preemption)


def _selector_fits(spec: Obj, labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    return any(_term_fits(term, labels) for term in affinity.get("nodeSelectorTerms") or ())


def _term_fits(term: Obj, labels: dict[str, str]) -> bool:
    for expression in term.get("matchExpressions") or ():
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
        if operator == "In" and labels.get(key) not in values:
            return False
        if operator == "NotIn" and labels.get(key) in values:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


def _is_over(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
