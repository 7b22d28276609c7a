"""A running localcluster for tests that need one, and parts of it in this process for the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from localcluster.journal import Journal
from localcluster.objects import Clock
from localcluster.registry import Registry
from localcluster.resources import NAMESPACES
from localcluster.store import Store
from localcluster.testing import LocalCluster


@pytest.fixture(scope="session")
def local_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a server that serves the whole session."""
    with LocalCluster(tmp_path_factory.mktemp("localcluster")) as server:
        yield server.kubeconfig


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry over a store of its own, with the default namespace and no controllers."""
    store = Store(Journal(tmp_path / "journal"))
    found = Registry(store, Clock())
    found.create(NAMESPACES, "", {"metadata": {"name": "default"}})
    yield found
    store.close()


class Api:
    """The official client against one server."""

    def __init__(self, kubeconfig: Path) -> None:
        self.raw = config.new_client_from_config(str(kubeconfig))
        self.core, self.batch = client.CoreV1Api(self.raw), client.BatchV1Api(self.raw)

    def job(self, name: str, script: str, **pod_spec: Any) -> Any:
        """A Job of one pod that runs `script` in a shell."""
        job_fields: dict[str, Any] = {
            key: pod_spec.pop(key) for key in ("backoffLimit", "podFailurePolicy") if key in pod_spec
        }
        container: dict[str, Any] = {"name": "main", "image": "any", "command": ["/bin/sh", "-c", script]}
        container.update(pod_spec.pop("container", {}))
        spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [container], **pod_spec}
        body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, **job_fields, "template": {"spec": spec}}}
        return self.batch.create_namespaced_job("default", body)

    def pods(self, job: str) -> list[Any]:
        return list(self.core.list_namespaced_pod("default", label_selector=f"job-name={job}").items)

    def phase(self, job: str) -> list[str]:
        return sorted(pod.status.phase for pod in self.pods(job))

    def log(self, job: str) -> str:
        name = self.pods(job)[0].metadata.name
        # Read raw: the client's own decoding of text answers differs from release to release.
        answer = self.core.read_namespaced_pod_log(name, "default", _preload_content=False)
        return bytes(answer.data).decode()

    def finished(self, job: str) -> str:
        """Complete or Failed, else nothing."""
        status = self.batch.read_namespaced_job(job, "default").status
        kinds = {entry.type for entry in status.conditions or () if entry.status == "True"}
        return next(iter(kinds & {"Complete", "Failed"}), "")


def until(what: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for a true value and return it."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, f"not seen within {seconds} s; last: {found!r}"
        time.sleep(0.05)
