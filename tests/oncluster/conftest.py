"""The portal on a cluster: localcluster, or with ``--real-cluster`` the one that KUBECONFIG names.

The web server is Django's live server, the reconciler runs in a thread, logs are collected as its tasks would. On a real cluster
the pods must reach the live server: ``--liveserver=ADDRESS`` says where it listens. ``TEST_IMAGE`` names an image with Python and
git that the cluster has.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_django.live_server_helper import LiveServer

from localcluster.testing import LocalCluster

if TYPE_CHECKING:
    from platform_portal.kube.cluster import Cluster
    from tests.personas import Team

ENDED = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.config.getoption("--real-cluster"):
        yield os.environ["KUBECONFIG"]
        return
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as local:
        yield str(local.kubeconfig)


class Platform:
    """A team, and what a person with its token does."""

    def __init__(self, team: "Team", cluster: "Cluster", patience: float) -> None:
        self.team, self.cluster, self.patience = team, cluster, patience

    def submit(self, **fields: Any) -> dict[str, Any]:
        body = {"name": f"job-{uuid.uuid4().hex[:6]}", "compute": {"cpu_cores": 1, "memory_gb": 1}} | fields
        answer = self.team.api.post("/v1/jobs/training", body, format="json")
        assert answer.status_code == 201, answer.content
        return dict(answer.json())

    def upload(self, name: str, content: bytes) -> str:
        from django.core.files.uploadedfile import SimpleUploadedFile

        answer = self.team.api.post("/v1/sources", {"file": SimpleUploadedFile(name, content)}, format="multipart")
        assert answer.status_code == 201, answer.content
        return str(answer.json()["id"])

    def get(self, job: dict[str, Any]) -> dict[str, Any]:
        return dict(self.team.api.get(f"/v1/jobs/training/{job['id']}").json())

    def until(self, job: dict[str, Any], *, reason: str = "", status: str = "") -> dict[str, Any]:
        """The job once it has this reason or status."""
        deadline = time.monotonic() + self.patience
        while True:
            now = self.get(job)
            if (reason and now["reason"] == reason) or (status and now["status"] == status):
                return now
            assert now["status"] not in ENDED and time.monotonic() < deadline, (now, self.timeline(job))
            time.sleep(0.05)

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + self.patience
        while (now := self.get(job))["status"] not in ENDED:
            assert time.monotonic() < deadline, (now, self.timeline(job))
            time.sleep(0.05)
        return now

    def log(self, job: dict[str, Any]) -> str:
        from jobs import logs

        logs.collect(uuid.UUID(job["id"]), self.cluster)
        return bytes(self.team.api.get(f"/v1/jobs/training/{job['id']}/logs").content).decode()

    def timeline(self, job: dict[str, Any]) -> list[str]:
        return [event["reason"] for event in self.team.api.get(f"/v1/jobs/training/{job['id']}/events").json()]


@pytest.fixture
def platform(
    transactional_db: None,
    live_server: LiveServer,
    settings: Any,
    kubeconfig: str,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> Iterator[Platform]:
    from django.db import connections

    from jobs.reconciler import Reconciler
    from platform_portal.kube import client
    from platform_portal.kube.cluster import Cluster
    from platform_portal.names import namespace
    from tests.personas import team

    real = pytestconfig.getoption("--real-cluster")
    settings.PLATFORM_INTERNAL_URL = live_server.url
    settings.CLUSTER_IS_LOCAL = not real
    settings.STORAGE_ROOT = f"file://{tmp_path}"
    image = os.environ.get("TEST_IMAGE", "python:3.11-slim")
    settings.DEFAULT_TRAINING_IMAGE = settings.FETCH_IMAGE = settings.GIT_IMAGE = image
    cluster = Cluster(client.load(kubeconfig))
    ours = team(f"t-{uuid.uuid4().hex[:8]}")
    reconciler = Reconciler(cluster)

    def work() -> None:
        try:
            reconciler.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield Platform(ours, cluster, 120 if real else 30)
    finally:
        reconciler.stop()
        thread.join(30)
        cluster.delete("Namespace", "", namespace(ours.tenant.slug))
    assert not thread.is_alive(), "the reconciler did not stop"
