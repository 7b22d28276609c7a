"""Where each kind of object that the platform uses lives in the Kubernetes API: one table, no handler per kind."""

from typing import NamedTuple


class Resource(NamedTuple):
    api_version: str
    plural: str
    namespaced: bool = True


RESOURCES: dict[str, Resource] = {
    "Namespace": Resource("v1", "namespaces", namespaced=False),
    "Node": Resource("v1", "nodes", namespaced=False),
    "Pod": Resource("v1", "pods"),
    "Event": Resource("v1", "events"),
    "Service": Resource("v1", "services"),
    "Secret": Resource("v1", "secrets"),
    "ServiceAccount": Resource("v1", "serviceaccounts"),
    "ResourceQuota": Resource("v1", "resourcequotas"),
    "LimitRange": Resource("v1", "limitranges"),
    "Job": Resource("batch/v1", "jobs"),
    "Role": Resource("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": Resource("rbac.authorization.k8s.io/v1", "rolebindings"),
    "NetworkPolicy": Resource("networking.k8s.io/v1", "networkpolicies"),
}


def path(kind: str, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
    """The URL path of an object, or of a collection when ``name`` is ``None``."""
    resource = RESOURCES[kind]
    root = f"/api/{resource.api_version}" if "/" not in resource.api_version else f"/apis/{resource.api_version}"
    parts = [root]
    if resource.namespaced and namespace:
        parts.append(f"namespaces/{namespace}")
    parts.append(resource.plural)
    if name:
        parts.append(name)
    if subresource:
        parts.append(subresource)
    return "/".join(parts)
