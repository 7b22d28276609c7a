"""A team's namespace as the platform applies it: what it refuses, what its account may do, and whom its pods reach.

Contract 2: Pod Security, the job account's Role, and NetworkPolicies that close the namespace to other tenants.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jobs import manifests as job_manifests
from jobs.spec import Rules, clean
from tenants import manifests
from tenants.manifests import TenantWish

from .api import Cluster, Object, Space, path_of, resource_of
from .objects import SERVER, container, pod, python
from .test_access import may, token_of

WISH = TenantWish("", "cc-1", "baseline", cpu=4, memory_gib=8, gpus=1, pvcs=5, pods=10)


def make(cluster: Cluster, level: str = "baseline") -> Space:
    """The namespace of a new team, ready to take pods."""
    wish = replace(WISH, slug=f"conformance-{uuid.uuid4().hex[:8]}", pod_security=level)
    space = Space(cluster, wish.namespace)
    for obj in manifests.objects(wish):
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        cluster.apply(path_of(resource_of(obj), namespace, name), obj)
    # Until its quota is counted and its limits are known to admission, a namespace refuses what it will take.
    plain = pod("plain", "true", {"serviceAccountName": manifests.SERVICE_ACCOUNT}, securityContext=HARDENED)
    del plain["spec"]["containers"][0]["resources"]
    wait_until_taken(space, plain)
    return space


def wait_until_taken(space: Space, body: Object) -> None:
    """Returns once creating the pod would be answered with 201."""
    path = space.path("pods")
    space.cluster.until(
        lambda: space.cluster.call("POST", path, body, dryRun="All").code, lambda code: code == 201, "taken"
    )


@pytest.fixture(params=["baseline", "restricted"])
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def team(cluster: Cluster, level: str) -> Iterator[Space]:
    space = make(cluster, level)
    yield space
    cluster.delete(path_of("namespaces", name=space.name))


@pytest.fixture
def two_teams(cluster: Cluster) -> Iterator[tuple[Space, Space]]:
    spaces = make(cluster), make(cluster)
    yield spaces
    for space in spaces:
        cluster.delete(path_of("namespaces", name=space.name))


HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def hardened(**changes: object) -> Object:
    return {key: value for key, value in {**HARDENED, **changes}.items() if value is not None}


HOST_PATH = {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}
NFS = {"volumes": [{"name": "share", "nfs": {"server": "192.0.2.1", "path": "/"}}]}
ROOT_INIT = {
    "initContainers": [
        container("true", "setup", securityContext=hardened(privileged=True, allowPrivilegeEscalation=None))
    ]
}
# What the pod does, its spec, its container, and the words of the refusal; what both levels refuse.
BOTH_REFUSE: list[tuple[str, Object, Object, str]] = [
    ("host network", {"hostNetwork": True}, {}, "host namespaces (hostNetwork=true)"),
    ("host processes", {"hostPID": True}, {}, "host namespaces (hostPID=true)"),
    ("host memory", {"hostIPC": True}, {}, "host namespaces (hostIPC=true)"),
    ("host files", HOST_PATH, {}, 'volume "host"'),
    (
        "host port",
        {},
        {"ports": [{"containerPort": 80, "hostPort": 80}]},
        'hostPort (container "main" uses hostPort 80)',
    ),
    ("privileged", {}, {"securityContext": {"privileged": True}}, 'privileged (container "main" must not set'),
    ("privileged init", ROOT_INIT, {}, 'privileged (container "setup" must not set'),
    ("capability", {}, {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, 'must not include "SYS_ADMIN"'),
    ("no seccomp", {}, {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
]
RESTRICTED_REFUSES: list[tuple[str, Object, Object, str]] = [
    ("nothing said", {}, {"securityContext": {}}, "allowPrivilegeEscalation != false"),
    (
        "escalation",
        {},
        {"securityContext": hardened(allowPrivilegeEscalation=True)},
        "allowPrivilegeEscalation != false",
    ),
    ("root", {}, {"securityContext": hardened(runAsNonRoot=None, runAsUser=None)}, "runAsNonRoot != true"),
    ("user 0", {}, {"securityContext": hardened(runAsUser=0)}, "runAsUser=0"),
    ("capabilities kept", {}, {"securityContext": hardened(capabilities={})}, "unrestricted capabilities"),
    ("default seccomp", {}, {"securityContext": hardened(seccompProfile=None)}, "seccompProfile"),
    ("network volume", NFS, {"securityContext": HARDENED}, 'uses restricted volume type "nfs"'),
]


def test_pods_that_break_pod_security_are_refused(team: Space, level: str) -> None:
    rows = [*BOTH_REFUSE, *(RESTRICTED_REFUSES if level == "restricted" else [])]
    for what, spec, fields, why in rows:
        body = pod("a", "true", {"serviceAccountName": manifests.SERVICE_ACCOUNT, **spec}, **fields)
        status = team.cluster.refused(403, "Forbidden", "POST", team.path("pods"), body)
        assert status["message"].startswith(f'pods "a" is forbidden: violates PodSecurity "{level}:latest": '), what
        assert why in status["message"], (what, status["message"])
    assert team.names("pods") == []


def test_a_privileged_container_that_must_not_gain_privileges_is_invalid(team: Space) -> None:
    body = pod(
        "a", "true", {"serviceAccountName": manifests.SERVICE_ACCOUNT}, securityContext=hardened(privileged=True)
    )
    status = team.cluster.refused(422, "Invalid", "POST", team.path("pods"), body)
    assert "cannot set `allowPrivilegeEscalation` to false and `privileged` to true" in status["message"]


def test_baseline_takes_what_only_restricted_refuses(cluster: Cluster) -> None:
    space = make(cluster, "baseline")
    for _, spec, fields, _ in RESTRICTED_REFUSES[:-1]:
        space.create(
            pod("a", "true", {"serviceAccountName": manifests.SERVICE_ACCOUNT, **spec}, **fields), dryRun="All"
        )
    cluster.delete(path_of("namespaces", name=space.name))


JOBS: list[tuple[str, Object, job_manifests.Source | None]] = [
    ("plain", {}, None),
    ("with a source", {}, job_manifests.Source("0" * 64, "py", "train.py")),
    ("from git", {"code_repo": "https://example.com/a.git"}, None),
]


def test_pods_of_jobs_pass(team: Space, level: str) -> None:
    for what, fields, source in JOBS:
        slug = team.name.removeprefix("ml-")
        rules = Rules(tenant=slug, default_image="python:3.11-slim")
        spec, errors = clean({"name": "a", "compute": {"cpu_cores": 1, "memory_gb": 1}} | fields, rules)
        assert errors == {}
        wish = job_manifests.JobWish(
            job_id=uuid.uuid4(),
            name="a",
            tenant=slug,
            cost_center="cc-1",
            spec=spec,
            output_path="s3://bucket/x/",
            token="t",
            platform_url="http://192.0.2.1:8000",
            restricted=level == "restricted",
            source=source,
        )
        template = job_manifests.training_job(wish)["spec"]["template"]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", **template["metadata"]},
            "spec": template["spec"],
        }
        assert team.create(body, dryRun="All")["spec"]["serviceAccountName"] == manifests.SERVICE_ACCOUNT, what


def test_a_container_that_names_no_resources_gets_small_ones(team: Space) -> None:
    body = pod("a", "true", {"serviceAccountName": manifests.SERVICE_ACCOUNT}, securityContext=HARDENED)
    del body["spec"]["containers"][0]["resources"]
    small = {"cpu": "100m", "memory": "256Mi"}
    made = team.create(body, dryRun="All")
    assert made["spec"]["containers"][0]["resources"] == {"requests": small, "limits": small}


@pytest.mark.parametrize(
    ("resources", "what"),
    [
        ({"requests": {"cpu": "5"}, "limits": {"cpu": "5"}}, "requests.cpu=5"),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "5"}}, "limits.cpu=5"),
        ({"requests": {"memory": "9Gi"}, "limits": {"memory": "9Gi"}}, "requests.memory=9Gi"),
        ({"requests": {"memory": "1Gi"}, "limits": {"memory": "9Gi"}}, "limits.memory=9Gi"),
        ({"limits": {"nvidia.com/gpu": "2"}}, "requests.nvidia.com/gpu=2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("level", ["restricted"], indirect=True)
def test_the_team_s_quota_stands_in_the_cluster_too(team: Space, resources: Object, what: str) -> None:
    account = {"serviceAccountName": manifests.SERVICE_ACCOUNT}
    body = pod("a", "true", account, securityContext=HARDENED, resources=resources)
    status = team.cluster.refused(403, "Forbidden", "POST", team.path("pods"), body)
    quota = f"{team.name.removeprefix('ml-')}-quota"
    assert f"exceeded quota: {quota}, requested: " in status["message"] and what in status["message"]


VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RESOURCES = [
    *(("", name) for name in ("pods", "pods/log", "pods/exec", "pods/portforward", "pods/eviction", "pods/status")),
    *(("", name) for name in ("secrets", "configmaps", "services", "events", "persistentvolumeclaims")),
    *(("", name) for name in ("serviceaccounts", "serviceaccounts/token", "resourcequotas", "limitranges")),
    *(("", name) for name in ("namespaces", "nodes", "nodes/proxy")),
    *(("batch", name) for name in ("jobs", "cronjobs")),
    *(("apps", name) for name in ("deployments", "replicasets", "daemonsets")),
    *(("rbac.authorization.k8s.io", name) for name in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")),
    ("networking.k8s.io", "networkpolicies"),
]
ALLOWED = {(verb, "", resource) for verb in ("get", "list", "watch") for resource in ("pods", "pods/log")}


def test_the_job_account_may_what_its_role_says_and_nothing_else(two_teams: tuple[Space, Space]) -> None:
    ours, theirs = two_teams
    account = ours.cluster.with_token(token_of(ours, manifests.SERVICE_ACCOUNT))
    account.until(lambda: may(account, "get", "pods", ours.name), bool, "the binding")
    wanted = {(ours.name, *what) for what in ALLOWED}
    found = {
        (namespace, verb, group, resource)
        for namespace in (ours.name, theirs.name, "")
        for group, resource in RESOURCES
        for verb in VERBS
        if may(account, verb, resource, namespace, group)
    }
    assert found == wanted
    assert account.list(ours.path("pods")) == []
    for path in (theirs.path("pods"), path_of("pods"), ours.path("secrets"), path_of("namespaces")):
        assert account.refused(403, "Forbidden", "GET", path)


REACHES = """
import sys, time, urllib.request
ends = time.monotonic() + 15
while time.monotonic() < ends:
    try:
        urllib.request.urlopen("http://{address}:8080/", timeout=3).read()
        print("reached")
        sys.exit()
    except OSError:
        time.sleep(0.5)
print("not reached")
"""


def serve(space: Space) -> str:
    """The address of a pod of the namespace that answers."""
    body = pod("server", python(SERVER), env=[{"name": "PORT", "value": "8080"}], ports=[{"containerPort": 8080}])
    body["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["true"]}}
    name = space.create(body)["metadata"]["name"]
    return str(space.running(name)["status"]["podIP"])


def reaches(space: Space, address: str) -> bool:
    name = f"client-{uuid.uuid4().hex[:6]}"
    return "not" not in space.output(pod(name, python(REACHES.format(address=address))))


def test_pods_of_one_team_do_not_reach_those_of_another(
    cluster: Cluster, space: Space, two_teams: tuple[Space, Space]
) -> None:
    if not cluster.real:
        pytest.skip("all pods of localcluster share one network")
    nothing = {"podSelector": {}, "policyTypes": ["Ingress"]}
    space.create(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"}, "spec": nothing}
    )
    closed = serve(space)
    if reaches(space, closed):
        pytest.skip("this cluster's network plug-in does not enforce NetworkPolicy: what is closed is reached")
    ours, theirs = two_teams
    address = serve(ours)
    assert reaches(ours, address), "a team's pods reach each other"
    assert not reaches(theirs, address), "another team's pods do not"
    assert not reaches(space, address), "nor do those of no team"
    space.delete("networkpolicies", "closed")
    assert reaches(ours, closed), "a team's pods reach what is no team's"
