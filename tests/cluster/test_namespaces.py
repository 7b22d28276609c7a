"""The life of a namespace: what it is born with, and that it takes everything in it along."""

from __future__ import annotations

from .api import Cluster, Object, Space, path_of
from .objects import SLEEP, config_map, deployment, job, pod, secret


def test_a_new_namespace_is_active_and_labelled_with_its_name(space: Space) -> None:
    obj = space.cluster.get(path_of("namespaces", name=space.name))
    assert obj["status"]["phase"] == "Active"
    assert obj["metadata"]["labels"]["kubernetes.io/metadata.name"] == space.name
    assert obj["spec"]["finalizers"] == ["kubernetes"]


def test_a_new_namespace_gets_its_default_service_account(space: Space) -> None:
    assert space.get("serviceaccounts", "default")["metadata"]["namespace"] == space.name


def test_a_second_namespace_of_that_name_already_exists(space: Space) -> None:
    status = space.cluster.refused(409, "AlreadyExists", "POST", path_of("namespaces"), _namespace(space.name))
    assert status["message"] == f'namespaces "{space.name}" already exists'


def test_deleting_a_namespace_deletes_all_it_holds(cluster: Cluster) -> None:
    own = _make(cluster)
    own.create(config_map("a"))
    own.create(secret("a", {"k": "v"}))
    own.create(deployment("d", 0))
    own.create(job("a", SLEEP))
    answer = cluster.delete(path_of("namespaces", name=own.name))
    assert answer["status"]["phase"] == "Terminating"
    assert answer["metadata"]["deletionTimestamp"]
    cluster.wait_gone(path_of("namespaces", name=own.name))
    for resource in ("configmaps", "secrets", "deployments", "jobs", "pods"):
        assert own.list(resource) == []


def test_a_terminating_namespace_accepts_nothing_new(cluster: Cluster) -> None:
    own = _make(cluster)
    # A finalizer keeps the namespace in this state for as long as the test looks at it.
    own.create(config_map("held", finalizers=["example.com/hold"]))
    cluster.delete(path_of("namespaces", name=own.name))
    status = cluster.refused(403, "Forbidden", "POST", own.path("configmaps"), config_map("late"))
    assert "because it is being terminated" in status["message"]
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    assert cluster.get(path_of("namespaces", name=own.name))["status"]["phase"] == "Terminating"
    cluster.refused(409, "AlreadyExists", "POST", path_of("namespaces"), _namespace(own.name))
    own.patch("configmaps", "held", {"metadata": {"finalizers": None}})
    cluster.wait_gone(path_of("namespaces", name=own.name))


def test_a_name_can_be_used_again_after_the_namespace_is_gone(cluster: Cluster) -> None:
    own = _make(cluster)
    old = own.create(config_map("a"))
    cluster.delete(path_of("namespaces", name=own.name))
    cluster.wait_gone(path_of("namespaces", name=own.name))
    cluster.create(path_of("namespaces"), _namespace(own.name))
    new = own.create(config_map("a"))
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    cluster.delete(path_of("namespaces", name=own.name))


def test_deleting_a_namespace_twice_is_harmless(cluster: Cluster) -> None:
    own = _make(cluster)
    own.create(config_map("held", finalizers=["example.com/hold"]))
    path = path_of("namespaces", name=own.name)
    cluster.delete(path)
    assert cluster.call("DELETE", path).code in (200, 202, 409)
    own.patch("configmaps", "held", {"metadata": {"finalizers": None}})
    cluster.wait_gone(path)


def test_running_pods_are_ended_with_their_namespace(cluster: Cluster) -> None:
    own = _make(cluster)
    cluster.until(lambda: own.names("serviceaccounts"), bool, "default ServiceAccount")
    own.create(pod("a", SLEEP))
    own.running("a")
    cluster.delete(path_of("namespaces", name=own.name))
    cluster.wait_gone(path_of("namespaces", name=own.name))
    assert own.list("pods") == []


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _make(cluster: Cluster) -> Space:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "conformance-"}}
    return Space(cluster, cluster.create(path_of("namespaces"), body)["metadata"]["name"])
