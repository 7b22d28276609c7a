"""Objects that the platform writes and others act upon: kept as written; events and leases besides."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from .api import Object, Space, resource_of
from .objects import job, pod

STORED: list[Object] = [
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "automountServiceAccountToken": False},
    {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "x"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]},
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "x"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "none-such",
        },
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "x"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "x"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"},
        "subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": "default"}],
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "x"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}],
        },
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "x"},
        "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}},
    },
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "x"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    },
    {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
            "minReplicas": 1,
            "maxReplicas": 4,
        },
    },
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "x"},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x"},
        "spec": {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"name": "master", "port": 23456}]},
    },
]


def _includes(found: object, wanted: object) -> bool:
    """Whether everything wanted is found; the server may add defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_includes(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_includes, found, wanted))
    return found == wanted


@pytest.mark.parametrize("body", STORED, ids=[each["kind"] for each in STORED])
def test_an_object_is_stored_applied_listed_and_deleted(space: Space, body: Object) -> None:
    resource = resource_of(body)
    made = space.apply(body)
    assert _includes(made, body)
    assert space.apply(body)["metadata"]["uid"] == made["metadata"]["uid"]
    assert "x" in space.names(resource)
    labelled = space.patch(resource, "x", {"metadata": {"labels": {"tenant": "t"}}})
    assert _includes(labelled, body)
    assert space.names(resource, labelSelector="tenant=t") == ["x"]
    space.delete(resource, "x")
    space.wait_gone(resource, "x")


def test_a_service_gets_an_address_unless_it_is_headless(space: Space) -> None:
    body: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"app": "s"}, "ports": [{"port": 80}]},
    }
    spec = space.create(body)["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["clusterIP"] not in ("", "None")
    assert spec["ports"][0]["targetPort"] == 80
    assert spec["ports"][0]["protocol"] == "TCP"


def test_a_lease_is_taken_by_one_of_two(space: Space) -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    body: Object = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "first", "leaseDurationSeconds": 15, "renewTime": now},
    }
    made = space.create(body)
    assert made["spec"]["renewTime"] == now
    path = space.path("leases", "leader")
    space.cluster.refused(409, "AlreadyExists", "POST", space.path("leases"), body)
    space.cluster.replace(path, {**made, "spec": {**made["spec"], "holderIdentity": "second"}})
    late = {**made, "spec": {**made["spec"], "holderIdentity": "third"}}
    space.cluster.refused(409, "Conflict", "PUT", path, late)
    assert space.get("leases", "leader")["spec"]["holderIdentity"] == "second"


def test_the_events_of_a_pod_are_found_by_the_object_they_are_about(space: Space) -> None:
    space.run(pod("a", "true"))
    other = space.run(pod("b", "true"))
    uid = other["metadata"]["uid"]
    selector = f"involvedObject.kind=Pod,involvedObject.name=b,involvedObject.uid={uid}"
    events = space.wait_list(
        "events",
        lambda found: {"Scheduled", "Pulled", "Created", "Started"} <= {each["reason"] for each in found},
        "of b",
        fieldSelector=selector,
    )
    for event in events:
        about = event["involvedObject"]
        assert (about["kind"], about["name"], about["namespace"], about["uid"]) == ("Pod", "b", space.name, uid)
        assert event["type"] == "Normal"
        assert event["message"]
        assert event["firstTimestamp"] or event["eventTime"]
        assert event["source"].get("component") or event["reportingComponent"]


def test_warnings_are_selected_by_type(space: Space) -> None:
    made = space.create(job("a", "exit 1"))
    space.wait_event(made, "BackoffLimitExceeded")
    warnings = space.list("events", fieldSelector="type=Warning,involvedObject.kind=Job")
    assert [each["reason"] for each in warnings] == ["BackoffLimitExceeded"]


def test_a_repeated_event_is_counted_rather_than_repeated(space: Space) -> None:
    made = space.create(pod("a", "exit 1", {"restartPolicy": "Always"}))
    uid = made["metadata"]["uid"]
    events = space.wait_list(
        "events",
        lambda found: sum(int(each.get("count") or 1) for each in found) >= 2,
        "at least two starts",
        fieldSelector=f"involvedObject.uid={uid},reason=Started",
    )
    assert len(events) == 1


def test_an_event_of_the_platform_is_stored(space: Space) -> None:
    made = space.create(job("a", "true", {"suspend": True}))
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "a."},
        "type": "Normal",
        "reason": "Noted",
        "message": "hello",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "ml-platform"},
        "involvedObject": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": "a",
            "namespace": space.name,
            "uid": made["metadata"]["uid"],
        },
    }
    space.create(body)
    assert space.wait_event(made, "Noted")["message"] == "hello"


def test_the_newer_group_shows_the_same_events(space: Space) -> None:
    space.run(pod("a", "true"))
    space.wait_list("events", lambda found: bool(found), "about a", fieldSelector="involvedObject.name=a")
    newer = space.cluster.list(f"/apis/events.k8s.io/v1/namespaces/{space.name}/events")
    about = [each for each in newer if each["regarding"]["name"] == "a"]
    assert about
    assert all(each["note"] for each in about)
