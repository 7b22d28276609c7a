"""PURE: what stands in Kubernetes for a tenant; one function per kind, and all of them in the order to apply.

Takes a ``TenantWish`` so that it needs no database.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from platform_portal import names

Object = dict[str, Any]
SERVICE_ACCOUNT = "ml-job-runner"


@dataclass(frozen=True)
class TenantWish:
    slug: str
    cost_center: str
    pod_security: str
    cpu: int
    memory_gib: int
    gpus: int
    pvcs: int
    pods: int
    gpu_resource: str = "nvidia.com/gpu"

    @property
    def namespace(self) -> str:
        return names.namespace(self.slug)


def objects(wish: TenantWish) -> list[Object]:
    """Everything of a tenant, the namespace first."""
    return [
        namespace(wish),
        resource_quota(wish),
        limit_range(wish),
        service_account(wish),
        role(wish),
        role_binding(wish),
        network_policy(wish),
    ]


def digest(wish: TenantWish) -> str:
    """Changes exactly when any of the objects does."""
    return hashlib.sha256(orjson.dumps(objects(wish), option=orjson.OPT_SORT_KEYS)).hexdigest()


def namespace(wish: TenantWish) -> Object:
    security = {f"pod-security.kubernetes.io/{mode}": wish.pod_security for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": wish.namespace, "labels": _labels(wish) | security},
    }


def resource_quota(wish: TenantWish) -> Object:
    hard = {
        "requests.cpu": str(wish.cpu),
        "requests.memory": f"{wish.memory_gib}Gi",
        f"requests.{wish.gpu_resource}": str(wish.gpus),
        "persistentvolumeclaims": str(wish.pvcs),
        "pods": str(wish.pods),
    }
    return _object(wish, "v1", "ResourceQuota", f"{wish.slug}-quota") | {"spec": {"hard": hard}}


def limit_range(wish: TenantWish) -> Object:
    """Gives a container that names no resources small ones, so that the quota does not refuse it."""
    small = {"cpu": "100m", "memory": "256Mi"}
    limits = [{"type": "Container", "default": small, "defaultRequest": small}]
    return _object(wish, "v1", "LimitRange", f"{wish.slug}-limits") | {"spec": {"limits": limits}}


def service_account(wish: TenantWish) -> Object:
    return _object(wish, "v1", "ServiceAccount", SERVICE_ACCOUNT) | {"automountServiceAccountToken": False}


def role(wish: TenantWish) -> Object:
    """What a job that asks for its token may do: look at the pods and logs of its own namespace."""
    rules = [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]}]
    return _object(wish, "rbac.authorization.k8s.io/v1", "Role", "ml-job-role") | {"rules": rules}


def role_binding(wish: TenantWish) -> Object:
    return _object(wish, "rbac.authorization.k8s.io/v1", "RoleBinding", "ml-job-binding") | {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ml-job-role"},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": wish.namespace}],
    }


def network_policy(wish: TenantWish) -> Object:
    """Pods hear their own namespace only; what other tenants send is dropped."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}
    return _object(wish, "networking.k8s.io/v1", "NetworkPolicy", "tenant-isolation") | {"spec": spec}


def _labels(wish: TenantWish) -> dict[str, str]:
    return {"tenant": wish.slug, "cost-center": wish.cost_center, "managed-by": names.MANAGED_BY}


def _object(wish: TenantWish, api_version: str, kind: str, name: str) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": wish.namespace, "labels": _labels(wish)},
    }
