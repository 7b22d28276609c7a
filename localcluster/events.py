"""Recording of Kubernetes events, repeated ones counted in one object."""

from __future__ import annotations

import time
from collections import OrderedDict

from localcluster.errors import ApiError
from localcluster.objects import Obj, fresh, name_of, namespace_of, timestamp, uid_of
from localcluster.registry import Registry
from localcluster.resources import EVENTS

_REMEMBERED = 4096


class Recorder:
    """Writes events for one component. An event that cannot be written (its namespace is going) is dropped."""

    _last = 0

    def __init__(self, registry: Registry, component: str, host: str = "") -> None:
        self._registry = registry
        self._source = {"component": component, **({"host": host} if host else {})}
        self._recent: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def normal(self, obj: Obj, reason: str, message: str, field_path: str = "") -> None:
        self._record("Normal", obj, reason, message, field_path)

    def warning(self, obj: Obj, reason: str, message: str, field_path: str = "") -> None:
        self._record("Warning", obj, reason, message, field_path)

    def _record(self, kind: str, obj: Obj, reason: str, message: str, field_path: str) -> None:
        key = (uid_of(obj), kind, reason, message, field_path)
        namespace = namespace_of(obj) or "default"
        try:
            if key in self._recent and self._repeat(namespace, self._recent[key]):
                self._recent.move_to_end(key)
                return
            self._recent[key] = self._create(namespace, kind, obj, reason, message, field_path)
        except ApiError:
            return
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def _unique(self) -> str:
        """A suffix that sorts by time, so that events of one second list in their order."""
        Recorder._last = max(Recorder._last + 1, time.time_ns())
        return f"{Recorder._last:x}"

    def _repeat(self, namespace: str, name: str) -> bool:
        item = self._registry.find(EVENTS, namespace, name)
        if item is None:
            return False
        event = fresh(item.obj)
        event["count"] += 1
        event["lastTimestamp"] = self._registry.now()
        self._registry.store.put(EVENTS.bucket, event)
        return True

    def _create(self, namespace: str, kind: str, obj: Obj, reason: str, message: str, field_path: str) -> str:
        now = timestamp(self._registry.clock.now())
        involved: Obj = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": name_of(obj),
            "uid": uid_of(obj),
            "resourceVersion": obj["metadata"].get("resourceVersion", ""),
        }
        if namespace_of(obj):
            involved["namespace"] = namespace_of(obj)
        if field_path:
            involved["fieldPath"] = field_path
        event = {
            "metadata": {"name": f"{name_of(obj)[:230]}.{self._unique()}", "namespace": namespace},
            "involvedObject": involved,
            "reason": reason,
            "message": message[:1024],
            "source": self._source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "eventTime": None,
            "count": 1,
            "type": kind,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
        }
        return name_of(self._registry.create(EVENTS, namespace, event).obj)
