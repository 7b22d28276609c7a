"""A pod's ServiceAccount must exist."""

from __future__ import annotations

from localcluster import errors
from localcluster.objects import Obj, name_of, namespace_of
from localcluster.registry import Registry
from localcluster.resources import PODS, SERVICE_ACCOUNTS, Resource


class ServiceAccounts:
    def mutate(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        return

    def check(self, registry: Registry, resource: Resource, obj: Obj, old: Obj | None) -> None:
        if resource is not PODS or old is not None:
            return
        account = obj["spec"].get("serviceAccountName", "default")
        # The default account follows its namespace at once; a pod that comes between the two need not wait for it.
        if account != "default" and registry.find(SERVICE_ACCOUNTS, namespace_of(obj), account) is None:
            why = (
                f'error looking up service account {namespace_of(obj)}/{account}: serviceaccount "{account}" not found'
            )
            raise errors.forbidden(PODS, name_of(obj), why)
