"""ResourceQuota status: hard and used, kept up to date."""

from __future__ import annotations

from collections.abc import Iterable

from localcluster.admission.quota import ResourceQuotas, shown
from localcluster.controllers.base import Controller
from localcluster.registry import Registry, ignoring_missing
from localcluster.resources import EVENTS, RESOURCE_QUOTAS
from localcluster.store import Change, Key


class QuotaController(Controller):
    name = "resourcequota-controller"

    def __init__(self, registry: Registry, quotas: ResourceQuotas) -> None:
        super().__init__(registry)
        self._quotas = quotas

    def initial_keys(self) -> Iterable[Key]:
        return self.store.keys(RESOURCE_QUOTAS.bucket)

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == RESOURCE_QUOTAS.bucket:
            return (change.item.key,)
        if change.bucket == EVENTS.bucket or (change.kind == "MODIFIED" and not _ended(change)):
            return ()
        return self.store.keys(RESOURCE_QUOTAS.bucket, change.item.key[0])

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(RESOURCE_QUOTAS.bucket, *key)
        if item is None:
            return None
        hard = item.obj["spec"].get("hard") or {}
        used = self._quotas.used_by(self.store, item.obj, hard)
        status = {
            "hard": hard,
            "used": {name: shown(name, amount, item.obj) for name, amount in used.items()},
        }
        if (item.obj.get("status") or {}) == status:
            return None
        ignoring_missing(
            lambda: self.registry.modify(
                RESOURCE_QUOTAS, *key, lambda obj: {**obj, "status": status}, subresource="status"
            )
        )
        return None


def _ended(change: Change) -> bool:
    """A pod that reached its end gives back what it used."""
    return change.bucket == "pods" and (change.item.obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
