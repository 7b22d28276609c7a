"""Small Kubernetes objects for the tests. Every builder answers a new dict that satisfies a small cluster.

Containers ask for little (a real cluster may be one node with two cores) and never for a newer image than the node has.
"""

from __future__ import annotations

import os
from typing import Any

from .api import Object

IMAGE = os.environ.get("TEST_IMAGE", "python:3.11-slim")
SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}

# Ends soon after SIGTERM: process 1 of a container has no default action for it.
SLEEP = 'trap "exit 143" TERM; sleep 600 & wait'

# Answers every path with its own name and what was asked, listening on $PORT as the contract's serving containers do.
# POST /break makes it unready.
SERVER = """
import http.server, os
broken = []
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path == "/break":
            broken.append(True)
        body = " ".join([self.command, self.path, os.environ.get("ANSWER", "-"), asked]).encode()
        self.send_response(503 if broken and self.path == "/ready" else 200)
        self.send_header("X-Served-By", "test")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def python(code: str) -> list[str]:
    return ["python3", "-c", code]


def container(command: list[str] | str, name: str = "main", **fields: Any) -> Object:
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": shell(command) if isinstance(command, str) else command,
        "resources": SMALL,
        **fields,
    }


def pod_spec(command: list[str] | str, spec: Object | None = None, **fields: Any) -> Object:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [container(command, **fields)],
        **(spec or {}),
    }


def pod(name: str, command: list[str] | str, spec: Object | None = None, **fields: Any) -> Object:
    """`spec` overrides fields of the pod's spec, the other keywords fields of its container `main`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": pod_spec(command, spec, **fields),
    }


def job(
    name: str, command: list[str] | str, spec: Object | None = None, pod: Object | None = None, **fields: Any
) -> Object:
    """`spec` overrides fields of the Job's spec, `pod` of its pods' spec, the other keywords of container `main`."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec(command, pod, **fields)},
            **(spec or {}),
        },
    }


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": data or {},
    }


def secret(name: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def deployment(
    name: str, replicas: int = 1, spec: Object | None = None, pod: Object | None = None, **fields: Any
) -> Object:
    """A web server that is ready once it answers; `ANSWER` in its env marks its version."""
    fields = {
        "env": [{"name": "PORT", "value": "8080"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
        **fields,
    }
    template = pod_spec(python(SERVER), {"restartPolicy": "Always", **(pod or {})}, **fields)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template},
            **(spec or {}),
        },
    }


def service(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            **spec,
        },
    }


def quota(name: str, hard: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


def without_resources(obj: Object) -> Object:
    """The same pod, asking for nothing."""
    for each in obj["spec"]["containers"]:
        each.pop("resources", None)
    return obj
