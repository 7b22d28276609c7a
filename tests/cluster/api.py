"""A thin client that shows the raw semantics of a Kubernetes API server: plain dicts in, plain dicts out.

Requires a kubeconfig. Promises that nothing is retried, defaulted or converted on the way, that every wait has a
deadline, and that a failed call shows the server's own words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Object = dict[str, Any]
Objects = list[Object]
Names = list[str]
T = TypeVar("T")

# Resource -> path of its group and version.
GROUPS = {
    "namespaces": "api/v1",
    "nodes": "api/v1",
    "pods": "api/v1",
    "services": "api/v1",
    "secrets": "api/v1",
    "configmaps": "api/v1",
    "serviceaccounts": "api/v1",
    "resourcequotas": "api/v1",
    "limitranges": "api/v1",
    "events": "api/v1",
    "endpoints": "api/v1",
    "persistentvolumeclaims": "api/v1",
    "jobs": "apis/batch/v1",
    "deployments": "apis/apps/v1",
    "replicasets": "apis/apps/v1",
    "horizontalpodautoscalers": "apis/autoscaling/v2",
    "poddisruptionbudgets": "apis/policy/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "ingresses": "apis/networking.k8s.io/v1",
    "roles": "apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "apis/rbac.authorization.k8s.io/v1",
    "clusterroles": "apis/rbac.authorization.k8s.io/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "endpointslices": "apis/discovery.k8s.io/v1",
}
IRREGULAR_PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "Endpoints": "endpoints"}


def path_of(resource: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    parts = [GROUPS[resource]]
    if namespace:
        parts += ["namespaces", namespace]
    parts += [part for part in (resource, name, subresource) if part]
    return "/" + "/".join(parts)


def resource_of(obj: Object) -> str:
    kind = str(obj["kind"])
    return IRREGULAR_PLURALS.get(kind, kind.lower() + "s")


def condition(obj: Object, kind: str) -> Object:
    """The status condition of that type, or an empty dict."""
    found = [each for each in obj.get("status", {}).get("conditions") or [] if each["type"] == kind]
    return found[0] if found else {}


def holds(kind: str) -> Callable[[Object], bool]:
    """A predicate: the status condition of that type is True."""
    return lambda obj: condition(obj, kind).get("status") == "True"


class Refused(AssertionError):
    """The server refused a call that a test expected to succeed."""

    def __init__(self, method: str, path: str, answer: Answer) -> None:
        super().__init__(f"{method} {path}: {answer.code} {answer.text[:2000]}")
        self.answer = answer


class TooLate(AssertionError):
    """A wait ended without its condition."""


@dataclass(frozen=True)
class Answer:
    code: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Object:
        decoded: Object = json.loads(self.body)
        return decoded


@dataclass
class Watch:
    """One open watch; iterating it gives events until the server ends it or nothing came for the cluster's patience."""

    response: urllib3.BaseHTTPResponse
    events: Iterator[Object] = field(init=False)

    def __post_init__(self) -> None:
        self.events = self._read()

    def __iter__(self) -> Iterator[Object]:
        # The same iterator each time: what one loop left is there for the next.
        return self.events

    def take(self, count: int) -> list[Object]:
        """The next `count` events that are not bookmarks."""
        taken: list[Object] = []
        for event in self:
            if event["type"] != "BOOKMARK":
                taken.append(event)
            if len(taken) == count:
                break
        return taken

    def _read(self) -> Iterator[Object]:
        rest = b""
        for chunk in self.response.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)


class Cluster:
    """Speaks to the cluster of one kubeconfig. `real` says whether it is anything else than localcluster."""

    def __init__(self, kubeconfig: Path, *, real: bool, token: str | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.real = real
        self._token = token
        # A real cluster pulls, schedules and tears down sandboxes; localcluster only starts processes.
        self.patience = 150.0 if real else 25.0
        self.configuration = client.Configuration()
        config.load_kube_config(config_file=str(kubeconfig), client_configuration=self.configuration)
        self.host = self.configuration.host.rstrip("/")
        self.pool = urllib3.PoolManager(
            ca_certs=self.configuration.ssl_ca_cert,
            cert_file=self.configuration.cert_file if token is None else None,
            key_file=self.configuration.key_file if token is None else None,
            cert_reqs="CERT_REQUIRED" if self.configuration.verify_ssl else "CERT_NONE",
            maxsize=8,
            retries=False,
            timeout=self.patience,
        )

    def with_token(self, token: str) -> Cluster:
        """The same cluster for who has this token and nothing else."""
        return Cluster(self.kubeconfig, real=self.real, token=token)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        response = self.open(method, path, body, content_type=content_type, headers=headers, preload=True, **query)
        return Answer(response.status, response.headers, response.data)

    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        headers: dict[str, str] | None = None,
        preload: bool = False,
        **query: Any,
    ) -> urllib3.BaseHTTPResponse:
        sent = {"Accept": JSON, **self._credentials(), **(headers or {})}
        data: bytes | None = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = content_type
        if query:
            path += "?" + urlencode({key: _query_value(value) for key, value in query.items()})
        return self.pool.request(
            method, self.host + path, body=data, headers=sent, preload_content=preload, redirect=False
        )

    def get(self, path: str, **query: Any) -> Object:
        return self._accepted("GET", path, **query)

    def list(self, path: str, **query: Any) -> Objects:
        items: Objects = self.get(path, **query)["items"]
        return items

    def create(self, path: str, body: Object, **query: Any) -> Object:
        return self._accepted("POST", path, body, **query)

    def replace(self, path: str, body: Object, **query: Any) -> Object:
        return self._accepted("PUT", path, body, **query)

    def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH, **query: Any) -> Object:
        return self._accepted("PATCH", path, body, content_type=content_type, **query)

    def apply(self, path: str, body: Object, manager: str = "platform", **query: Any) -> Object:
        return self.patch(path, body, APPLY_PATCH, fieldManager=manager, **query)

    def delete(self, path: str, body: Object | None = None, **query: Any) -> Object:
        return self._accepted("DELETE", path, body, **query)

    def refused(self, code: int, reason: str, method: str, path: str, body: Any = None, **options: Any) -> Object:
        """Make a call that must fail so; answer the Status object."""
        answer = self.call(method, path, body, **options)
        assert answer.code == code, f"{method} {path}: wanted {code} {reason}, got {answer.code} {answer.text[:2000]}"
        status = answer.json
        assert status["kind"] == "Status"
        assert status["apiVersion"] == "v1"
        assert status["status"] == "Failure"
        assert status["code"] == code
        assert status.get("reason", "") == reason, status
        return status

    @contextmanager
    def watch(self, path: str, **query: Any) -> Iterator[Watch]:
        query.setdefault("timeoutSeconds", int(self.patience))
        with self.stream(path, watch=True, **query) as response:
            if response.status != 200:
                raise Refused("WATCH", path, Answer(response.status, response.headers, response.read()))
            yield Watch(response)

    @contextmanager
    def stream(self, path: str, **query: Any) -> Iterator[urllib3.BaseHTTPResponse]:
        response = self.open("GET", path, **query)
        try:
            yield response
        finally:
            # Closed, not returned to the pool: the rest of an endless body is not wanted.
            response.close()

    def until(self, read: Callable[[], T], wanted: Callable[[T], bool], what: str) -> T:
        """Read until the value is wanted; polling so that a faulty watch does not fail every test at once."""
        deadline = time.monotonic() + self.patience
        pause = 0.02
        while True:
            value = read()
            if wanted(value):
                return value
            if time.monotonic() > deadline:
                raise TooLate(
                    f"not seen in {self.patience:.0f} s: {what}; last: {json.dumps(value, default=str)[:6000]}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5 if self.real else 0.1)

    def wait(self, path: str, wanted: Callable[[Object], bool], what: str) -> Object:
        return self.until(lambda: self.get(path), wanted, f"{path} {what}")

    def wait_gone(self, path: str) -> None:
        self.until(lambda: self.call("GET", path).code, lambda code: code == 404, f"{path} gone")

    def _accepted(self, method: str, path: str, body: Any = None, **options: Any) -> Object:
        answer = self.call(method, path, body, **options)
        if answer.code >= 400:
            raise Refused(method, path, answer)
        return answer.json

    def _credentials(self) -> dict[str, str]:
        if self._token is not None:
            return {"Authorization": f"Bearer {self._token}"}
        token = self.configuration.get_api_key_with_prefix(
            "authorization"
        ) or self.configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}


@dataclass(frozen=True)
class Space:
    """One namespace of a test's own."""

    cluster: Cluster
    name: str

    def path(self, resource: str, name: str = "", subresource: str = "") -> str:
        return path_of(resource, self.name, name, subresource)

    def create(self, obj: Object, **query: Any) -> Object:
        return self.cluster.create(self.path(resource_of(obj)), obj, **query)

    def get(self, resource: str, name: str) -> Object:
        return self.cluster.get(self.path(resource, name))

    def list(self, resource: str, **query: Any) -> Objects:
        return self.cluster.list(self.path(resource), **query)

    def names(self, resource: str, **query: Any) -> Names:
        return sorted(obj["metadata"]["name"] for obj in self.list(resource, **query))

    def patch(self, resource: str, name: str, body: Any, content_type: str = MERGE_PATCH, **query: Any) -> Object:
        return self.cluster.patch(self.path(resource, name), body, content_type, **query)

    def apply(self, obj: Object, manager: str = "platform", **query: Any) -> Object:
        return self.cluster.apply(self.path(resource_of(obj), obj["metadata"]["name"]), obj, manager, **query)

    def delete(self, resource: str, name: str, body: Object | None = None, **query: Any) -> Object:
        return self.cluster.delete(self.path(resource, name), body, **query)

    def wait(self, resource: str, name: str, wanted: Callable[[Object], bool], what: str) -> Object:
        return self.cluster.wait(self.path(resource, name), wanted, what)

    def wait_list(self, resource: str, wanted: Callable[[Objects], bool], what: str, **query: Any) -> Objects:
        return self.cluster.until(lambda: self.list(resource, **query), wanted, f"{resource} {what}")

    def wait_gone(self, resource: str, name: str) -> None:
        self.cluster.wait_gone(self.path(resource, name))

    def run(self, pod: Object) -> Object:
        """Create the pod and wait for its end."""
        name = self.create(pod)["metadata"]["name"]
        return self.ended(name)

    def ended(self, pod: str) -> Object:
        return self.wait("pods", pod, lambda obj: obj["status"]["phase"] in ("Succeeded", "Failed"), "ended")

    def running(self, pod: str) -> Object:
        return self.wait("pods", pod, lambda obj: obj["status"].get("phase") == "Running", "running")

    def log(self, pod: str, **query: Any) -> str:
        return self.log_bytes(pod, **query).decode("utf-8", "replace")

    def log_bytes(self, pod: str, **query: Any) -> bytes:
        path = self.path("pods", pod, "log")
        answer = self.cluster.call("GET", path, headers={"Accept": "*/*"}, **query)
        if answer.code != 200:
            raise Refused("GET", path, answer)
        return answer.body

    def output(self, pod: Object) -> str:
        """Create the pod, wait for its success, answer its log."""
        ended = self.run(pod)
        text = self.log(ended["metadata"]["name"])
        assert ended["status"]["phase"] == "Succeeded", f"{ended['status']} log: {text}"
        return text

    def wait_log(self, pod: str, wanted: str, **query: Any) -> str:
        def read() -> str:
            answer = self.cluster.call("GET", self.path("pods", pod, "log"), headers={"Accept": "*/*"}, **query)
            # Until the container runs there is no log but a refusal, whose words are not the container's.
            return answer.text if answer.code == 200 else ""

        return self.cluster.until(read, lambda text: wanted in text, f"{wanted!r} in the log of {pod}")

    def wait_event(self, obj: Object, reason: str) -> Object:
        """The first event with that reason about that very object."""
        selector = f"involvedObject.uid={obj['metadata']['uid']},reason={reason}"
        return self.wait_list("events", bool, f"with {selector}", fieldSelector=selector)[0]


def container_status(pod: Object, name: str = "main") -> Object:
    everything = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    found = [each for each in everything if each["name"] == name]
    return found[0] if found else {}


def terminated(pod: Object, name: str = "main") -> Object:
    state: Object = container_status(pod, name)["state"]["terminated"]
    return state


def _query_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
