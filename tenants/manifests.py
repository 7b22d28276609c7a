"""PURE: what stands in Kubernetes for a tenant; one function per kind, and all of them in the order to apply.

Takes a ``TenantWish`` so that it needs no database.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from platform_portal import names

Object = dict[str, Any]
SERVICE_ACCOUNT = "ml-job-runner"
ROLE, ROLE_BINDING = "ml-job-role", "ml-job-binding"


@dataclass(frozen=True)
class TenantWish:
    """``cpu`` to ``pods`` are the limits that hold now. ``portal`` is the URL by which pods reach the platform."""

    slug: str
    cost_center: str
    pod_security: str
    cpu: int
    memory_gib: int
    gpus: int
    pvcs: int
    pods: int
    gpu_resource: str = "nvidia.com/gpu"
    labels: Mapping[str, str] = field(default_factory=dict)
    pod_security_version: str = "latest"
    portal: str = ""
    denied_networks: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        return names.namespace(self.slug)


def objects(wish: TenantWish) -> list[Object]:
    """Everything of a tenant, the namespace first and then what closes it, before anything could run in it."""
    return [
        namespace(wish),
        ingress_policy(wish),
        egress_policy(wish),
        resource_quota(wish),
        limit_range(wish),
        service_account(wish),
        role(wish),
        role_binding(wish),
    ]


def digest(wish: TenantWish) -> str:
    """Changes exactly when any of the objects does."""
    return hashlib.sha256(orjson.dumps(objects(wish), option=orjson.OPT_SORT_KEYS)).hexdigest()


def namespace(wish: TenantWish) -> Object:
    """What a person gave as labels never replaces the platform's own."""
    security = {}
    for mode in ("enforce", "audit", "warn"):
        security[f"pod-security.kubernetes.io/{mode}"] = wish.pod_security
        security[f"pod-security.kubernetes.io/{mode}-version"] = wish.pod_security_version
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": wish.namespace, "labels": dict(wish.labels) | _labels(wish) | security},
    }


def resource_quota(wish: TenantWish) -> Object:
    """Limits count as requests do: a pod that asks for little and may take much would take it from others."""
    hard = {
        "requests.cpu": str(wish.cpu),
        "limits.cpu": str(wish.cpu),
        "requests.memory": f"{wish.memory_gib}Gi",
        "limits.memory": f"{wish.memory_gib}Gi",
        f"requests.{wish.gpu_resource}": str(wish.gpus),
        "persistentvolumeclaims": str(wish.pvcs),
        "pods": str(wish.pods),
    }
    return _object(wish, "v1", "ResourceQuota", f"{wish.slug}-quota") | {"spec": {"hard": hard}}


def limit_range(wish: TenantWish) -> Object:
    """Gives a container that names no resources small ones, so that the quota does not refuse it."""
    limits = [{"type": "Container", "default": _small(), "defaultRequest": _small()}]
    return _object(wish, "v1", "LimitRange", f"{wish.slug}-limits") | {"spec": {"limits": limits}}


def service_account(wish: TenantWish) -> Object:
    return _object(wish, "v1", "ServiceAccount", SERVICE_ACCOUNT) | {"automountServiceAccountToken": False}


def role(wish: TenantWish) -> Object:
    """What a job that asks for its token may do: look at the pods and logs of its own namespace."""
    rules = [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]}]
    return _object(wish, "rbac.authorization.k8s.io/v1", "Role", ROLE) | {"rules": rules}


def role_binding(wish: TenantWish) -> Object:
    return _object(wish, "rbac.authorization.k8s.io/v1", "RoleBinding", ROLE_BINDING) | {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": wish.namespace}],
    }


def ingress_policy(wish: TenantWish) -> Object:
    """Pods hear their own namespace only. This is what keeps tenants apart: whatever one sends, the other does not receive."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}
    return _object(wish, "networking.k8s.io/v1", "NetworkPolicy", "tenant-isolation") | {"spec": spec}


def egress_policy(wish: TenantWish) -> Object:
    """Pods reach their own namespace, names, the platform, namespaces that are no tenant's, and the outside.

    A range of addresses cannot say "but no pods": plug-ins differ in whether it means pods at all. The networks that are denied
    close that gap from this side where the administrator names the cluster's pod network; the other side is closed anyway.
    """
    no_tenant = {"key": "managed-by", "operator": "NotIn", "values": [names.MANAGED_BY]}
    rules: list[Object] = [
        {"to": [{"podSelector": {}}]},
        # Wherever the cluster has its name server: in a pod, on the node, at a link-local address.
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"to": [{"namespaceSelector": {"matchExpressions": [no_tenant]}}]},
        {"to": [_outside("0.0.0.0/0", wish.denied_networks), _outside("::/0", wish.denied_networks)]},
    ]
    if (portal := _portal(wish.portal)) is not None:
        # Named by its address, it may lie in a network that is denied otherwise.
        rules.append(portal)
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": rules}
    return _object(wish, "networking.k8s.io/v1", "NetworkPolicy", "tenant-egress") | {"spec": spec}


def _outside(everything: str, denied: tuple[str, ...]) -> Object:
    version = ipaddress.ip_network(everything).version
    excepted = [network for network in denied if ipaddress.ip_network(network).version == version]
    block: Object = {"cidr": everything}
    if excepted:
        block["except"] = excepted
    return {"ipBlock": block}


def _portal(url: str) -> Object | None:
    """A rule for a portal that pods know by its IP address; one with a name is found by the other rules."""
    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    whole = f"{address}/{address.max_prefixlen}"
    return {"to": [{"ipBlock": {"cidr": whole}}], "ports": [{"port": port, "protocol": "TCP"}]}


def _small() -> dict[str, str]:
    return {"cpu": "100m", "memory": "256Mi"}


def _labels(wish: TenantWish) -> dict[str, str]:
    return {"tenant": wish.slug, "cost-center": wish.cost_center, "managed-by": names.MANAGED_BY}


def _object(wish: TenantWish, api_version: str, kind: str, name: str) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": wish.namespace, "labels": _labels(wish)},
    }
