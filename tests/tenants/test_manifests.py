"""What stands in Kubernetes for a team: every object whole, and in the order that works."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_portal import names
from tenants import manifests, slugs
from tenants.manifests import TenantWish
from tenants.models import Tenant
from tenants.reconciler import tenant_apply, wish_of
from tests.jobs.fake_cluster import FakeCluster
from tests.kubernetes_schema import problems
from tests.personas import Team

WISH = TenantWish("ours", "cc-1", "baseline", cpu=100, memory_gib=200, gpus=10, pvcs=50, pods=100)
LABELS = {"tenant": "ours", "cost-center": "cc-1", "managed-by": "ml-platform"}


def meta(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": "ml-ours", "labels": LABELS}


EXPECTED: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "ml-ours",
            "labels": LABELS
            | {
                "pod-security.kubernetes.io/enforce": "baseline",
                "pod-security.kubernetes.io/audit": "baseline",
                "pod-security.kubernetes.io/warn": "baseline",
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta("ours-quota"),
        "spec": {
            "hard": {
                "requests.cpu": "100",
                "requests.memory": "200Gi",
                "requests.nvidia.com/gpu": "10",
                "persistentvolumeclaims": "50",
                "pods": "100",
            }
        },
    },
    {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": meta("ours-limits"),
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "default": {"cpu": "100m", "memory": "256Mi"},
                    "defaultRequest": {"cpu": "100m", "memory": "256Mi"},
                }
            ]
        },
    },
    {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta("ml-job-runner"),
        "automountServiceAccountToken": False,
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": meta("ml-job-role"),
        "rules": [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta("ml-job-binding"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ml-job-role"},
        "subjects": [{"kind": "ServiceAccount", "name": "ml-job-runner", "namespace": "ml-ours"}],
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta("tenant-isolation"),
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]},
    },
]


def test_every_object_whole_and_the_namespace_first() -> None:
    assert manifests.objects(WISH) == EXPECTED


@pytest.mark.parametrize("obj", manifests.objects(WISH), ids=lambda obj: obj["kind"])
def test_kubernetes_knows_every_field(obj: dict[str, Any]) -> None:
    assert problems(obj) == []


def test_a_team_may_ask_for_more_security_and_another_gpu() -> None:
    namespace, quota, *_ = manifests.objects(replace(WISH, pod_security="restricted", gpu_resource="amd.com/gpu"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert quota["spec"]["hard"]["requests.amd.com/gpu"] == "10"


@pytest.mark.parametrize("field", [field.name for field in fields(TenantWish)])
def test_the_digest_changes_with_everything_that_is_wanted(field: str) -> None:
    value = getattr(WISH, field)
    other: dict[str, Any] = {field: value + 1 if isinstance(value, int) else f"{value}x"}
    changed = replace(WISH, **other)
    assert manifests.digest(WISH) == manifests.digest(replace(WISH)) != manifests.digest(changed)


def test_the_defaults_are_the_contract_s(ours: Team) -> None:
    assert wish_of(ours.tenant) == WISH


def test_applying_writes_down_what_stands(ours: Team) -> None:
    from django.utils import timezone

    cluster, now = FakeCluster(), timezone.now()
    tenant_apply(tenant=ours.tenant, cluster=cluster, now=now)  # type: ignore[arg-type]
    row = Tenant.objects.get()
    assert (row.applied_digest, row.applied_at) == (manifests.digest(WISH), now)
    assert [kind for _, kind, _ in cluster.calls] == [obj["kind"] for obj in EXPECTED]


# ---- slugs

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


@given(st.from_regex(LABEL, fullmatch=True))
def test_every_allowed_slug_names_a_namespace(slug: str) -> None:
    if slugs.problem(slug) is None:
        assert len(names.namespace(slug)) <= 63 and len(slug) <= 40
        for obj in manifests.objects(replace(WISH, slug=slug)):
            assert len(obj["metadata"]["name"]) <= 63 and obj["metadata"]["labels"]["tenant"] == slug
    else:
        assert len(slug) > 40


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a_b", "a.b", "a b", "ä", "a\n", "٣", "a/b", "x" * 41])
def test_no_other_slug_is_allowed(slug: str) -> None:
    assert slugs.problem(slug)
