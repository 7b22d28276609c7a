"""The keeper of namespaces at work on a cluster, and what a test asks of the cluster meanwhile."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from platform_portal.kube.cluster import Cluster
from platform_portal.kube.resources import path

T = TypeVar("T")
Object = dict[str, Any]
MERGE = "application/merge-patch+json"
PATIENCE = 30.0


def until(read: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
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
