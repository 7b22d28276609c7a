"""The cluster under test: localcluster by default, the one of $KUBECONFIG with --real-cluster.

Promises each test a namespace of its own with its default ServiceAccount, deleted afterwards without waiting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .api import Cluster, Space, path_of


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.config.getoption("real_cluster", default=False):
        kubeconfig = os.environ.get("KUBECONFIG")
        if not kubeconfig:
            raise pytest.UsageError("--real-cluster needs KUBECONFIG: the path of the cluster's kubeconfig file")
        yield Cluster(Path(kubeconfig), real=True)
        return
    from localcluster.testing import LocalCluster

    with LocalCluster(tmp_path_factory.mktemp("localcluster")) as server:
        yield Cluster(Path(server.kubeconfig), real=False)


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Space]:
    yield from _new_space(cluster, {})


@pytest.fixture
def other_space(cluster: Cluster) -> Iterator[Space]:
    """A second namespace, for tests of what crosses the border."""
    yield from _new_space(cluster, {})


def _new_space(cluster: Cluster, labels: dict[str, str]) -> Iterator[Space]:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "conformance-", "labels": labels}}
    made = Space(cluster, cluster.create(path_of("namespaces"), body)["metadata"]["name"])
    # Pods are refused until the namespace's controller has made the account they run as.
    cluster.until(lambda: made.names("serviceaccounts"), lambda names: "default" in names, "default ServiceAccount")
    if cluster.real:
        # Another controller's gift; it must not fall into the middle of a test of watches or pages.
        cluster.until(lambda: made.names("configmaps"), bool, "kube-root-ca.crt")
    yield made
    cluster.delete(path_of("namespaces", name=made.name))
