"""Events live for one hour, as in Kubernetes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from localcluster.controllers.base import Controller
from localcluster.objects import parse_time
from localcluster.registry import ignoring_missing
from localcluster.resources import EVENTS
from localcluster.store import Change, Key

LIFETIME = timedelta(hours=1)
_SWEEP: Key = ("", "")
_SWEEP_SECONDS = 300.0


class EventExpiry(Controller):
    """One sweep every few minutes while there are events, none otherwise."""

    name = "event-expiry"

    def initial_keys(self) -> Iterable[Key]:
        return (_SWEEP,)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == EVENTS.bucket and change.kind == "ADDED" and _SWEEP not in self._timers:
            self.enqueue_after(_SWEEP, _SWEEP_SECONDS)
        return ()

    def reconcile(self, key: Key) -> float | None:
        oldest = self.registry.clock.now() - LIFETIME
        for item in self.store.items(EVENTS.bucket):
            seen = item.obj.get("lastTimestamp") or item.obj["metadata"]["creationTimestamp"]
            if parse_time(seen) < oldest:
                ignoring_missing(lambda item=item: self.registry.delete(EVENTS, *item.key))  # type: ignore[misc]
        return _SWEEP_SECONDS if self.store.count(EVENTS.bucket) else None
