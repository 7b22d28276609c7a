"""The table of resources: everything generic handlers, discovery and OpenAPI know about a kind."""

from __future__ import annotations

from dataclasses import dataclass, field

from localcluster.objects import Obj

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    stored: bool = True  # False: a review that is answered and forgotten
    bucket: str = field(default="")  # where objects live; two resources may share one

    def __post_init__(self) -> None:
        if not self.bucket:
            object.__setattr__(self, "bucket", self.qualified)

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def details(self, name: str) -> Obj:
        found: Obj = {"name": name, "kind": self.plural}
        if self.group:
            found["group"] = self.group
        return found


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, ("ns",), ("status", "finalize"))
PODS = Resource("", "v1", "pods", "Pod", True, ("po",), ("status", "log", "eviction", "proxy"), ("all",))
SERVICES = Resource("", "v1", "services", "Service", True, ("svc",), ("status", "proxy"), ("all",))
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", True, ("cm",))
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",), ("token",))
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", True, ("quota",), ("status",))
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange", True, ("limits",))
EVENTS = Resource("", "v1", "events", "Event", True, ("ev",))
PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("pvc",), ("status",))
NODES = Resource("", "v1", "nodes", "Node", False, ("no",), ("status",))
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", True, ("ep",))
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True, ("deploy",), ("status", "scale"), ("all",))
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", True, ("rs",), ("status", "scale"), ("all",))
JOBS = Resource("batch", "v1", "jobs", "Job", True, (), ("status",), ("all",))
HPAS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, ("hpa",), ("status",), ("all",)
)
PDBS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",), ("status",))
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",))
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", True, ("ing",), ("status",))
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
CLUSTER_ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
EVENTS_V1 = Resource("events.k8s.io", "v1", "events", "Event", True, ("ev",), bucket="events")
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False, stored=False
)

TABLE: tuple[Resource, ...] = (
    NAMESPACES, PODS, SERVICES, SECRETS, CONFIG_MAPS, SERVICE_ACCOUNTS, RESOURCE_QUOTAS, LIMIT_RANGES, EVENTS, PVCS,
    NODES, ENDPOINTS, DEPLOYMENTS, REPLICA_SETS, JOBS, HPAS, PDBS, NETWORK_POLICIES, INGRESSES, ROLES, ROLE_BINDINGS,
    CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, LEASES, ENDPOINT_SLICES, EVENTS_V1, ACCESS_REVIEWS,
)  # fmt: skip

BY_PATH: dict[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in TABLE}
BY_KIND: dict[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in TABLE}
# The resource whose apiVersion and kind the objects of a bucket carry.
BY_BUCKET: dict[str, Resource] = {r.bucket: r for r in reversed(TABLE) if r.stored}
GROUP_VERSIONS: dict[str, str] = {r.group: r.version for r in TABLE if r.group}


def of_group(group: str) -> list[Resource]:
    return [resource for resource in TABLE if resource.group == group]
