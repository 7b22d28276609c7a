"""What the platform does to a cluster, idempotently and in plain dicts.

Every call ends within the client's time limit and raises ``kube.errors``; none retries by itself: the reconciler decides
when to try again.
"""

from collections.abc import Iterator
from typing import Any

import urllib3

from platform_portal.kube import client as kube_client
from platform_portal.kube.client import Client
from platform_portal.kube.errors import Conflict, NotFound, Unavailable
from platform_portal.kube.resources import path

Object = dict[str, Any]
FIELD_MANAGER = "ml-platform"
PAGE = 500


class Cluster:
    """One cluster, through one client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def ping(self, timeout: float = 2.0) -> None:
        """Raises unless the API server says that it is ready within ``timeout`` seconds."""
        self.client.request("GET", "/version", timeout=timeout)

    def apply(self, obj: Object) -> Object:
        """Server-side apply: makes the object, or puts back the fields that are ours; nothing changes when all is so."""
        meta = obj["metadata"]
        return self.client.request(
            "PATCH",
            path(obj["kind"], meta.get("namespace"), meta["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": True},
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    def create(self, obj: Object, *, identity: str) -> Object:
        """Creates the object, or finds the one that an earlier, interrupted create left.

        ``identity`` is the label that says whose it is. An object of that name with another value there is a
        ``Conflict``.
        """
        meta = obj["metadata"]
        try:
            return self.client.request(
                "POST", path(obj["kind"], meta.get("namespace")), query={"fieldManager": FIELD_MANAGER}, body=obj
            )
        except Conflict as conflict:
            if conflict.reason not in ("AlreadyExists", ""):
                raise
            existing = self.get(obj["kind"], meta.get("namespace"), meta["name"])
            if existing is None:
                raise Unavailable(409, "Vanished", "an object of that name has just gone; try again") from conflict
            labels = existing["metadata"].get("labels") or {}
            if labels.get(identity) == meta["labels"][identity]:
                return existing
            raise

    def delete(
        self, kind: str, namespace: str, name: str, *, uid: str | None = None, propagation: str = "Foreground"
    ) -> None:
        """Asks for the deletion; by default dependents go first, so an object seen absent has left nothing behind.

        Absent already is success. With ``uid``, an object of that name that is another one is left alone.
        """
        options: Object = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.client.request("DELETE", path(kind, namespace, name), body=options)
        except NotFound:
            return
        except Conflict:
            if uid is None:
                raise

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """The object, or ``None`` when it is not there."""
        try:
            return self.client.request("GET", path(kind, namespace, name))
        except NotFound:
            return None

    def list_pages(
        self, kind: str, namespace: str | None = None, selector: str = ""
    ) -> Iterator[tuple[str, list[Object]]]:
        """Pages of objects, each with the list's resourceVersion; raises ``Expired`` if it took too long."""
        token = ""
        while True:
            query: dict[str, str | int | bool] = {"limit": PAGE}
            if selector:
                query["labelSelector"] = selector
            if token:
                query["continue"] = token
            answer = self.client.request("GET", path(kind, namespace), query=query)
            meta = answer.get("metadata", {})
            yield meta.get("resourceVersion", ""), answer.get("items") or []
            token = meta.get("continue") or ""
            if not token:
                return

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        return [item for _, items in self.list_pages(kind, namespace, selector) for item in items]

    def watch_stream(self, kind: str, *, selector: str, version: str, seconds: int) -> urllib3.BaseHTTPResponse:
        """An open watch from ``version`` on; the server ends it after ``seconds``."""
        query: dict[str, str | int | bool] = {
            "watch": True,
            "resourceVersion": version,
            "allowWatchBookmarks": True,
            "timeoutSeconds": seconds,
        }
        if selector:
            query["labelSelector"] = selector
        return self.client.stream(path(kind), query=query, idle_timeout=seconds + 30)


def default() -> Cluster:
    """The cluster that settings name."""
    return Cluster(kube_client.default())
