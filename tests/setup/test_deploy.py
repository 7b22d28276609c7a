"""The manifests in deploy/: well-formed, hardened, and allowed what the code calls and nothing else."""

import itertools
import re

import pytest
import yaml

from platform_portal.kube.resources import RESOURCES
from tenants import manifests
from tests.kubernetes_schema import problems
from tests.setup.running import ROOT

OBJECTS = [
    document for file in sorted((ROOT / "deploy").glob("*.yaml")) for document in yaml.safe_load_all(file.read_text())
]
PODS = {
    obj["metadata"]["name"]: obj["spec"]["template"]["spec"] for obj in OBJECTS if obj["kind"] in {"Deployment", "Job"}
}
CONTAINERS = [
    pytest.param(container, id=f"{name}/{container['name']}")
    for name, pod in PODS.items()
    for container in [*pod.get("initContainers", []), *pod["containers"]]
]
TENANT = manifests.TenantWish("team", "research", "baseline", cpu=1, memory_gib=1, gpus=0, pvcs=0, pods=1)
# What platform_portal.kube does with each kind: kept as wanted are those of a team's namespace.
KEEP = {"get", "list", "watch", "create", "patch", "delete"}
NEEDED = {obj["kind"]: KEEP for obj in manifests.objects(TENANT)} | {
    "Job": {"get", "list", "watch", "create", "delete"},
    "Pod": {"get", "list", "watch"},
    "Event": {"list", "watch"},
}


def find(kind: str, name: str = "ml-platform") -> dict:
    return next(obj for obj in OBJECTS if obj["kind"] == kind and obj["metadata"]["name"] == name)


def granted() -> set[tuple[str, str, str]]:
    return {
        triple
        for rule in find("ClusterRole")["rules"]
        for triple in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def group_of(kind: str) -> str:
    return RESOURCES[kind].api_version.rpartition("/")[0]


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: f"{obj['kind']}/{obj['metadata']['name']}")
def test_every_object_is_well_formed(obj):
    assert problems(obj) == []


def test_the_checker_sees_unknown_missing_and_mistyped_fields():
    bad = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"prot": 80}], "selector": {"a": 1}}}
    assert sorted(problems(bad)) == [
        "Service.spec.ports[0].port: is required",
        "Service.spec.ports[0].prot: is no field of V1ServicePort",
        "Service.spec.selector.a: must be str, is 1",
    ]


def test_the_platform_may_do_what_it_calls_and_nothing_else():
    needed = {(group_of(kind), RESOURCES[kind].plural, verb) for kind, verbs in NEEDED.items() for verb in verbs}
    logs = {("", "pods/log", verb) for verb in ("get", "list", "watch")}
    assert granted() == needed | logs


def test_the_platform_holds_what_it_grants_to_jobs():
    """Otherwise Kubernetes refuses to make the Role."""
    for rule in manifests.role(TENANT)["rules"]:
        assert set(itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])) <= granted()


def test_the_role_is_bound_to_the_account_that_the_pods_use():
    binding = find("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == find("ClusterRole")["metadata"]["name"]
    account = find("ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    assert {pod["serviceAccountName"] for pod in PODS.values()} == {account["name"]}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_passes_pod_security_restricted(container):
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())
def test_every_pod_runs_as_a_user_without_rights(pod):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_parts_are_those_that_the_laptop_runs():
    started = {name.removeprefix("ml-platform-") for name in PODS}
    assert started == {"web", "reconcile", "worker", "beat", "migrate"}


def test_the_service_finds_the_web_pods_port():
    service, web = find("Service", "ml-platform-web"), find("Deployment", "ml-platform-web")
    assert service["spec"]["selector"] == web["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in PODS["ml-platform-web"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_probes_name_a_host_that_is_allowed():
    """A probe without a Host header names the pod's address, which ALLOWED_HOSTS does not hold."""
    allowed = find("ConfigMap")["data"]["ALLOWED_HOSTS"].split(",")
    web = PODS["ml-platform-web"]["containers"][0]
    for probe in (web["readinessProbe"], web["livenessProbe"]):
        assert {"name": "Host", "value": allowed[0]} in probe["httpGet"]["httpHeaders"]


def test_the_configuration_names_settings_that_exist():
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    for name in find("ConfigMap")["data"]:
        assert name.removesuffix("_FILE") in documented


def test_every_setting_is_documented_and_no_other():
    read = set()
    for file in ("settings.py", "laptop.py"):
        text = (ROOT / "platform_portal" / file).read_text()
        read |= set(re.findall(r"env\.(?:text|flag|number|words|rates|currency|networks)\(\s*\"([A-Z_]+)\"", text))
    documented = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(read)
