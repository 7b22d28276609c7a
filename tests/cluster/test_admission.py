"""What a namespace refuses: quotas, limit ranges, Pod Security."""

from __future__ import annotations

import pytest

from .api import Object, Space, path_of
from .objects import SLEEP, config_map, container, job, pod, quota, without_resources


def _quota(space: Space, hard: dict[str, str]) -> None:
    space.create(quota("q", hard))
    # Until its controller has counted, a quota refuses everything.
    space.wait("resourcequotas", "q", lambda obj: obj.get("status", {}).get("hard") == hard, "counted")


def _used(space: Space, wanted: dict[str, str]) -> None:
    space.wait("resourcequotas", "q", lambda obj: obj["status"]["used"] == wanted, f"with {wanted} used")


def test_a_pod_over_the_quota_is_forbidden_with_the_figures(space: Space) -> None:
    _quota(space, {"requests.cpu": "100m", "requests.memory": "1Gi"})
    resources = {"requests": {"cpu": "200m", "memory": "2Gi"}}
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("pods"), pod("a", "true", resources=resources))
    assert status["message"] == (
        'pods "a" is forbidden: exceeded quota: q, requested: requests.cpu=200m,requests.memory=2Gi, '
        "used: requests.cpu=0,requests.memory=0, limited: requests.cpu=100m,requests.memory=1Gi"
    )
    assert status["details"] == {"name": "a", "kind": "pods"}


def test_the_quotas_short_names_count_requests(space: Space) -> None:
    _quota(space, {"cpu": "15m"})
    space.create(pod("a", SLEEP))
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("pods"), pod("b", "true"))
    assert "exceeded quota: q, requested: cpu=10m, used: cpu=10m, limited: cpu=15m" in status["message"]


def test_a_pod_that_says_nothing_is_refused_where_a_quota_counts_it(space: Space) -> None:
    _quota(space, {"requests.cpu": "1", "limits.memory": "1Gi"})
    body = without_resources(pod("a", "true"))
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("pods"), body)
    assert "failed quota: q: must specify limits.memory for: main; requests.cpu for: main" in status["message"]


def test_the_use_of_a_quota_follows_the_pods(space: Space) -> None:
    _quota(space, {"pods": "3", "requests.cpu": "1", "requests.memory": "1Gi"})
    space.create(pod("a", SLEEP))
    space.create(pod("b", SLEEP))
    _used(space, {"pods": "2", "requests.cpu": "20m", "requests.memory": "64Mi"})
    space.delete("pods", "a")
    _used(space, {"pods": "1", "requests.cpu": "10m", "requests.memory": "32Mi"})


def test_a_finished_pod_uses_no_quota(space: Space) -> None:
    _quota(space, {"pods": "1", "requests.cpu": "10m"})
    space.run(pod("a", "true"))
    _used(space, {"pods": "0", "requests.cpu": "0"})
    assert space.run(pod("b", "true"))["status"]["phase"] == "Succeeded"


def test_an_init_container_counts_only_for_what_it_asks_beyond_the_others(space: Space) -> None:
    _quota(space, {"requests.cpu": "1", "requests.memory": "1Gi"})
    fetch = container("true", "fetch", resources={"requests": {"cpu": "50m", "memory": "8Mi"}})
    space.create(pod("a", SLEEP, {"initContainers": [fetch]}))
    _used(space, {"requests.cpu": "50m", "requests.memory": "32Mi"})


def test_gpus_are_counted_by_their_requests(space: Space) -> None:
    _quota(space, {"requests.nvidia.com/gpu": "1"})
    space.create(pod("a", "true", resources={"limits": {"nvidia.com/gpu": "1"}}))
    second = pod("b", "true", resources={"limits": {"nvidia.com/gpu": "1"}})
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("pods"), second)
    assert "requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1" in status["message"]


def test_other_objects_are_counted_too(space: Space) -> None:
    _quota(space, {"count/jobs.batch": "1", "persistentvolumeclaims": "0"})
    space.create(job("a", "true", {"suspend": True}))
    _used(space, {"count/jobs.batch": "1", "persistentvolumeclaims": "0"})
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("jobs"), job("b", "true"))
    assert status["message"] == (
        'jobs.batch "b" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1, '
        "limited: count/jobs.batch=1"
    )
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    status = space.cluster.refused(403, "Forbidden", "POST", space.path("persistentvolumeclaims"), claim)
    assert "exceeded quota: q, requested: persistentvolumeclaims=1" in status["message"]


def test_a_raised_quota_lets_pods_in(space: Space) -> None:
    _quota(space, {"pods": "0"})
    space.cluster.refused(403, "Forbidden", "POST", space.path("pods"), pod("a", "true"))
    space.patch("resourcequotas", "q", {"spec": {"hard": {"pods": "1"}}})
    # Admission reads quotas from a cache, which learns of the change a moment later.
    space.cluster.until(
        lambda: space.cluster.call("POST", space.path("pods"), pod("a", "true")).code,
        lambda code: code == 201,
        "let in",
    )


def _limits(space: Space, **limits: object) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "l"},
        "spec": {"limits": [{"type": "Container", **limits}]},
    }
    space.create(body)


def _dry_until(space: Space, body: Object, wanted: int) -> Object:
    """Admission sees a new LimitRange or label a moment after it was made."""
    path = space.path("pods")
    space.cluster.until(
        lambda: space.cluster.call("POST", path, body, dryRun="All").code, lambda code: code == wanted, f"{wanted}"
    )
    return space.cluster.call("POST", path, body, dryRun="All").json


def test_a_limit_range_gives_defaults_to_who_says_nothing(space: Space) -> None:
    _limits(space, default={"cpu": "500m", "memory": "64Mi"}, defaultRequest={"cpu": "50m"})
    body = without_resources(pod("a", "true"))
    made = space.cluster.until(
        lambda: space.create(body, dryRun="All"),
        lambda obj: bool(obj["spec"]["containers"][0]["resources"]),
        "defaulted",
    )
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m", "memory": "64Mi"},
        "requests": {"cpu": "50m", "memory": "64Mi"},
    }


def test_a_limit_range_leaves_alone_what_is_said(space: Space) -> None:
    _limits(space, default={"memory": "64Mi"})
    body = pod("a", "true", resources={"requests": {"cpu": "10m"}, "limits": {"memory": "48Mi"}})
    made = space.create(body, dryRun="All")
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"memory": "48Mi"}


BOUNDS: list[tuple[str, Object, Object, str]] = [
    (
        "over the maximum",
        {"max": {"cpu": "1"}},
        {"limits": {"cpu": "2"}},
        "maximum cpu usage per Container is 1, but limit is 2",
    ),
    (
        "under the minimum",
        {"min": {"memory": "64Mi"}},
        {"requests": {"memory": "32Mi"}},
        "minimum memory usage per Container is 64Mi, but request is 32Mi",
    ),
]


@pytest.mark.parametrize(
    ("limits", "resources", "message"), [row[1:] for row in BOUNDS], ids=[row[0] for row in BOUNDS]
)
def test_a_limit_range_refuses_what_is_out_of_bounds(
    space: Space, limits: Object, resources: Object, message: str
) -> None:
    _limits(space, **limits)
    status = _dry_until(space, pod("a", "true", resources=resources), 403)
    assert status["reason"] == "Forbidden"
    assert message in status["message"]


def _enforce(space: Space, level: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level}
    space.cluster.patch(path_of("namespaces", name=space.name), {"metadata": {"labels": labels}})


HOST_PATH = {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}

BASELINE_REFUSES: list[tuple[str, Object, str]] = [
    ("the host's network", pod("a", "true", {"hostNetwork": True}), "host namespaces (hostNetwork=true)"),
    ("the host's processes", pod("a", "true", {"hostPID": True}), "host namespaces (hostPID=true)"),
    ("the host's files", pod("a", "true", HOST_PATH), 'hostPath volumes (volume "host")'),
    (
        "a privileged container",
        pod("a", "true", securityContext={"privileged": True}),
        'privileged (container "main" must not set securityContext.privileged=true)',
    ),
    (
        "an added capability",
        pod("a", "true", securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        'non-default capabilities (container "main" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
    ),
]


@pytest.mark.parametrize(
    ("body", "why"), [row[1:] for row in BASELINE_REFUSES], ids=[row[0] for row in BASELINE_REFUSES]
)
def test_baseline_refuses(space: Space, body: Object, why: str) -> None:
    _enforce(space, "baseline")
    status = _dry_until(space, body, 403)
    assert status["reason"] == "Forbidden"
    assert status["message"].startswith('pods "a" is forbidden: violates PodSecurity "baseline:latest": ')
    assert why in status["message"]


def test_baseline_accepts_a_plain_pod(space: Space) -> None:
    _enforce(space, "baseline")
    _dry_until(space, pod("b", "true", {"hostNetwork": True}), 403)
    assert space.run(pod("a", "true"))["status"]["phase"] == "Succeeded"


HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_NEEDS = [
    ("allowPrivilegeEscalation", "allowPrivilegeEscalation != false"),
    ("capabilities", "unrestricted capabilities"),
    ("runAsNonRoot", "runAsNonRoot != true"),
    ("seccompProfile", "seccompProfile"),
]


@pytest.mark.parametrize(("left_out", "why"), RESTRICTED_NEEDS, ids=[row[0] for row in RESTRICTED_NEEDS])
def test_restricted_refuses_a_pod_without(space: Space, left_out: str, why: str) -> None:
    _enforce(space, "restricted")
    context = {key: value for key, value in HARDENED.items() if key != left_out}
    status = _dry_until(space, pod("a", "true", securityContext=context), 403)
    assert status["message"].startswith('pods "a" is forbidden: violates PodSecurity "restricted:latest": ')
    assert why in status["message"]


def test_restricted_accepts_a_hardened_pod(space: Space) -> None:
    _enforce(space, "restricted")
    _dry_until(space, pod("b", "true"), 403)
    assert space.run(pod("a", "true", securityContext=HARDENED))["status"]["phase"] == "Succeeded"


def test_a_job_is_accepted_and_its_forbidden_pods_show_in_its_events(space: Space) -> None:
    _enforce(space, "restricted")
    _dry_until(space, pod("b", "true"), 403)
    made = space.create(job("a", "true"))
    event = space.wait_event(made, "FailedCreate")
    assert 'violates PodSecurity "restricted:latest"' in event["message"]


def test_pod_security_does_not_touch_other_objects(space: Space) -> None:
    _enforce(space, "restricted")
    assert space.create(config_map("a"))
