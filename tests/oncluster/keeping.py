"""The keeper of namespaces at work on a cluster, and what a test asks of the cluster meanwhile."""

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from platform_portal.kube.cluster import Cluster
from platform_portal.kube.resources import path

ROOT = Path(__file__).resolve().parent.parent.parent
RBAC = "/apis/rbac.authorization.k8s.io/v1"
T = TypeVar("T")
Object = dict[str, Any]
MERGE = "application/merge-patch+json"
PATIENCE = 30.0


def until(read: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """What ``read`` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := read()):
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds:.0f} s"
        time.sleep(0.05)
    return found


def patch(cluster: Cluster, kind: str, namespace: str, name: str, body: Object) -> Object:
    """As somebody does by hand: under another name than the platform's."""
    return cluster.client.request(
        "PATCH", path(kind, namespace, name), query={"fieldManager": "by-hand"}, body=body, content_type=MERGE
    )


def create(cluster: Cluster, obj: Object) -> Object:
    where = path(obj["kind"], obj["metadata"].get("namespace"))
    return cluster.client.request("POST", where, query={"fieldManager": "by-hand"}, body=obj)


class Deployed:
    """The rights of deploy/rbac.yaml, given under names of the test's own, and a kubeconfig of who has them and no others."""

    def __init__(self, admin: Cluster, kubeconfig: str, folder: Path) -> None:
        self.name = f"conformance-{uuid.uuid4().hex[:8]}"
        self._admin = admin
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}}
        for obj in [namespace, *yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text())]:
            self._apply(obj)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        account = path("ServiceAccount", self.name, self.name, "token")
        token = admin.client.request("POST", account, body=request)["status"]["token"]
        document = yaml.safe_load(Path(kubeconfig).read_text())
        document["users"] = [{"name": "deployed", "user": {"token": token}}]
        document["contexts"][0]["context"]["user"] = "deployed"
        self.kubeconfig = folder / "deployed.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def remove(self) -> None:
        for kind in ("clusterrolebindings", "clusterroles"):
            self._admin.client.request("DELETE", f"{RBAC}/{kind}/{self.name}")
        self._admin.delete("Namespace", "", self.name)

    def _apply(self, obj: Object) -> None:
        kind = obj["kind"]
        where = path(kind, None, self.name) if kind == "Namespace" else f"{RBAC}/{kind.lower()}s/{self.name}"
        obj["metadata"]["name"] = self.name
        if kind == "ServiceAccount":
            obj["metadata"]["namespace"] = self.name
            where = path(kind, self.name, self.name)
        if kind == "ClusterRoleBinding":
            obj["roleRef"]["name"] = self.name
            obj["subjects"][0] |= {"name": self.name, "namespace": self.name}
        self._admin.client.request(
            "PATCH", where, query={"fieldManager": "test"}, body=obj, content_type="application/apply-patch+yaml"
        )


class Running:
    """A ``TenantReconciler`` in a thread of its own; as a context manager it is stopped at the end."""

    def __init__(self, cluster: Cluster) -> None:
        from tenants.reconciler import TenantReconciler

        self.reconciler = TenantReconciler(cluster)
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.reconciler.stop()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the reconciler did not stop"

    def _work(self) -> None:
        from django.db import connections

        try:
            self.reconciler.run()
        finally:
            connections.close_all()
