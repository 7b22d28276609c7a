"""What stands in Kubernetes for a team: every object whole, and in the order that works."""

from dataclasses import fields, replace
from datetime import timedelta
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

WISH = TenantWish(
    "ours",
    "cc-1",
    "baseline",
    cpu=100,
    memory_gib=200,
    gpus=10,
    pvcs=50,
    pods=100,
    portal="http://192.0.2.10:8000",
    denied_networks=("169.254.169.254/32", "fd00:ec2::254/128"),
)
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
                "pod-security.kubernetes.io/enforce-version": "latest",
                "pod-security.kubernetes.io/audit": "baseline",
                "pod-security.kubernetes.io/audit-version": "latest",
                "pod-security.kubernetes.io/warn": "baseline",
                "pod-security.kubernetes.io/warn-version": "latest",
            },
        },
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta("tenant-isolation"),
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta("tenant-egress"),
        "spec": {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [{"podSelector": {}}]},
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
                {
                    "to": [
                        {
                            "namespaceSelector": {
                                "matchExpressions": [
                                    {"key": "managed-by", "operator": "NotIn", "values": ["ml-platform"]}
                                ]
                            }
                        }
                    ]
                },
                {
                    "to": [
                        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}},
                        {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128"]}},
                    ]
                },
                {
                    "to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}],
                    "ports": [{"port": 8000, "protocol": "TCP"}],
                },
            ],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta("ours-quota"),
        "spec": {
            "hard": {
                "requests.cpu": "100",
                "limits.cpu": "100",
                "requests.memory": "200Gi",
                "limits.memory": "200Gi",
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
]


def test_every_object_whole_and_the_namespace_first() -> None:
    assert manifests.objects(WISH) == EXPECTED


@pytest.mark.parametrize("obj", manifests.objects(WISH), ids=lambda obj: obj["kind"])
def test_kubernetes_knows_every_field(obj: dict[str, Any]) -> None:
    assert problems(obj) == []


def test_a_team_may_ask_for_more_security_and_another_gpu() -> None:
    wish = replace(WISH, pod_security="restricted", gpu_resource="amd.com/gpu", pod_security_version="v1.32")
    labels, quota = manifests.namespace(wish)["metadata"]["labels"], manifests.resource_quota(wish)
    assert {key: value for key, value in labels.items() if "security" in key} == {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", "v1.32"))
    }
    assert quota["spec"]["hard"]["requests.amd.com/gpu"] == "10"


def test_labels_of_a_team_join_the_namespace_s_own_and_never_replace_them() -> None:
    wish = replace(WISH, labels={"division": "research", "tenant": "theirs", "managed-by": "me"})
    assert manifests.namespace(wish)["metadata"]["labels"] == manifests.namespace(WISH)["metadata"]["labels"] | {
        "division": "research"
    }


@pytest.mark.parametrize(
    ("portal", "rule"),
    [
        ("https://ml.example.com", None),
        ("", None),
        ("http://10.0.0.7", {"to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}], "ports": [{"port": 80, "protocol": "TCP"}]}),
        (
            "https://[2001:db8::1]",
            {"to": [{"ipBlock": {"cidr": "2001:db8::1/128"}}], "ports": [{"port": 443, "protocol": "TCP"}]},
        ),
    ],
)
def test_a_portal_that_pods_know_by_its_address_is_named(portal: str, rule: dict[str, Any] | None) -> None:
    rules = manifests.egress_policy(replace(WISH, portal=portal))["spec"]["egress"]
    assert rules[4:] == ([rule] if rule else [])


OTHER: dict[str, Any] = {
    "labels": {"a": "b"},
    "portal": "http://192.0.2.11:8000",
    "denied_networks": ("10.0.0.0/8",),
}


@pytest.mark.parametrize("field", [field.name for field in fields(TenantWish)])
def test_the_digest_changes_with_everything_that_is_wanted(field: str) -> None:
    value = getattr(WISH, field)
    other = {field: OTHER.get(field, value + 1 if isinstance(value, int) else f"{value}x")}
    changed = replace(WISH, **other)
    assert manifests.digest(WISH) == manifests.digest(replace(WISH)) != manifests.digest(changed)


def test_the_defaults_are_the_contract_s(ours: Team, settings: Any) -> None:
    settings.PLATFORM_INTERNAL_URL = WISH.portal
    assert wish_of(ours.tenant) == WISH


def test_a_grant_counts_until_it_has_run_out(ours: Team) -> None:
    from django.utils import timezone

    now = timezone.now()
    ours.tenant.grants = [{"until": (now + timedelta(hours=1)).isoformat(), "request": 1, "cpu": 400, "pods": 3}]
    assert [wish_of(ours.tenant, now).cpu, wish_of(ours.tenant, now).pods] == [400, 100]
    assert wish_of(ours.tenant, now + timedelta(hours=1)).cpu == 100


def test_applying_writes_down_what_stands(ours: Team) -> None:
    from django.utils import timezone

    cluster, now = FakeCluster(), timezone.now()
    tenant_apply(tenant=ours.tenant, cluster=cluster, now=now)  # type: ignore[arg-type]
    row = Tenant.objects.get()
    assert (row.applied_digest, row.applied_at) == (manifests.digest(wish_of(ours.tenant)), now)
    assert (row.applied_version, row.lease_until) == (row.version, None)
    assert row.namespace_uid == cluster.objects["Namespace", "", "ml-ours"]["metadata"]["uid"]
    made = [("get", "Namespace"), ("create", "Namespace")]
    assert [call[:2] for call in cluster.calls] == [*made, *(("apply", obj["kind"]) for obj in EXPECTED)]


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
