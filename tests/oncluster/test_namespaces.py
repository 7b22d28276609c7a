"""A team's namespace on a cluster, from its row to its end, and what becomes of what somebody changes there by hand.

Contract 2: all of it is applied idempotently and drifts back when changed by hand.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from platform_portal.kube.cluster import Cluster, Object
from tests.oncluster.keeping import Deployed, Running, create, patch, until

if TYPE_CHECKING:
    from tenants.models import Tenant

KEEPS = ("Namespace", "ResourceQuota", "LimitRange", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")


@dataclass
class Keeper:
    """A reconciler under the rights of deploy/rbac.yaml, and an administrator beside it."""

    cluster: Cluster
    running: Running

    def team(self, **fields: Any) -> "Tenant":
        from tenants.services import tenant_create

        return tenant_create(slug=f"t-{uuid.uuid4().hex[:8]}", name="A team", **fields)

    def ready(self, tenant: "Tenant") -> "Tenant":
        """The row once its namespace stands as wanted."""
        from tenants.models import Tenant
        from tenants.wishes import READY, state_of

        def read() -> "Tenant | None":
            from django.utils import timezone

            row = Tenant.objects.get(pk=tenant.pk)
            settled = row.applied_version == row.version and row.lease_until is None
            return row if settled and state_of(row, timezone.now()) == READY else None

        return until(read, f"the namespace of {tenant.slug}")

    def wanted(self, tenant: "Tenant") -> list[Object]:
        from tenants import manifests
        from tenants.models import Tenant
        from tenants.wishes import wish_of

        return manifests.objects(wish_of(Tenant.objects.get(pk=tenant.pk)))

    def get(self, obj: Object) -> Object | None:
        return self.cluster.get(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])

    def stands(self, tenant: "Tenant") -> bool:
        from tenants import drift

        return all(not drift.differences(obj, self.get(obj))[0] for obj in self.wanted(tenant))

    def reports(self, tenant: "Tenant") -> list[tuple[str, Any, Any]]:
        from tenants.models import AuditEntry

        lines = AuditEntry.objects.filter(tenant_id=tenant.pk, action="namespace.drift-corrected").order_by("id")
        return [(line.target, line.before, line.after) for line in lines]


@pytest.fixture
def deployed(kubeconfig: str, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster for who has what deploy/rbac.yaml gives to the platform."""
    from platform_portal.kube import client

    rights = Deployed(Cluster(client.load(kubeconfig)), kubeconfig, tmp_path)
    yield Cluster(client.load(str(rights.kubeconfig)))
    rights.remove()


@pytest.fixture
def keeper(
    transactional_db: None, kubeconfig: str, deployed: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Keeper]:
    from django.db import transaction

    from platform_portal import wakeup
    from platform_portal.kube import client
    from tenants import defaults
    from tenants.models import Tenant

    # What a migration leaves in the tables, and a flush between tests takes out of them.
    defaults.ensure()
    cluster = Cluster(client.load(kubeconfig))
    with Running(deployed) as running:
        monkeypatch.setattr(wakeup, "notify", lambda: transaction.on_commit(running.reconciler.sweep_now))
        yield Keeper(cluster, running)
        slugs = list(Tenant.objects.values_list("slug", flat=True))
    for slug in slugs:
        cluster.delete("Namespace", "", f"ml-{slug}")


def test_a_new_team_has_its_namespace_with_all_that_belongs_in_it(keeper: Keeper) -> None:
    tenant = keeper.ready(keeper.team(labels={"division": "research"}))
    for obj in keeper.wanted(tenant):
        standing = keeper.get(obj)
        assert standing is not None, obj["kind"]
        assert obj["metadata"]["labels"].items() <= standing["metadata"]["labels"].items()
        for part in obj.keys() - {"metadata"}:
            assert standing[part] == obj[part], (obj["kind"], part)
    namespace = keeper.cluster.get("Namespace", "", f"ml-{tenant.slug}")
    assert namespace is not None and namespace["metadata"]["uid"] == tenant.namespace_uid
    assert namespace["metadata"]["labels"]["division"] == "research"
    assert keeper.reports(tenant) == [] and tenant.drift_at is None


CHANGES: list[tuple[str, dict[str, Any], str, str, Any]] = [
    ("quota", {"quota_cpu": 7}, "ResourceQuota", "spec.hard.requests.cpu", "7"),
    ("label", {"labels": {"division": "sales"}}, "Namespace", "metadata.labels.division", "sales"),
    ("label taken away", {"labels": {}}, "Namespace", "metadata.labels.division", None),
    ("cost center", {"cost_center": "cc-2"}, "Role", "metadata.labels.cost-center", "cc-2"),
    (
        "pod security",
        {"pod_security": "restricted"},
        "Namespace",
        "metadata.labels.pod-security/enforce",
        "restricted",
    ),
]


def test_changes_of_the_row_follow_and_are_no_drift(keeper: Keeper) -> None:
    from tenants.services import cost_center_create, tenant_update

    cost_center_create(code="cc-2", name="Second")
    tenant = keeper.ready(keeper.team(labels={"division": "research"}))
    for what, fields, kind, where, value in CHANGES:
        tenant_update(slug=tenant.slug, **fields)
        keeper.ready(tenant)
        (obj,) = [obj for obj in keeper.wanted(tenant) if obj["kind"] == kind]
        at: Any = keeper.get(obj)
        section, part, *rest = where.split(".", 2)
        key = rest[0].replace("pod-security/", "pod-security.kubernetes.io/")
        assert at[section][part].get(key) == value, what
    assert keeper.reports(tenant) == []


def test_a_grant_is_followed_until_it_runs_out(keeper: Keeper) -> None:
    from django.utils import timezone

    tenant = keeper.ready(keeper.team())
    until_then = timezone.now() + timedelta(seconds=3)
    tenant.grants = [{"until": until_then.isoformat(), "request": 1, "pods": 777}]
    tenant.save()

    def pods() -> str:
        quota = keeper.cluster.get("ResourceQuota", f"ml-{tenant.slug}", f"{tenant.slug}-quota")
        assert quota is not None
        return str(quota["spec"]["hard"]["pods"])

    until(lambda: pods() == "777", "the grant")
    until(lambda: pods() == "100", "its end", 15)
    assert timezone.now() >= until_then
    keeper.ready(tenant)
    assert keeper.reports(tenant) == []


# What somebody does by hand to one object of each kind, where that is seen, and what was found there.
BY_HAND: dict[str, tuple[Object, str, Any]] = {
    "Namespace": (
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
        "metadata.labels.pod-security.kubernetes.io/enforce",
        "privileged",
    ),
    "ResourceQuota": ({"spec": {"hard": {"pods": "9999"}}}, "spec.hard.pods", "9999"),
    "LimitRange": (
        {"spec": {"limits": [{"type": "Container", "default": {"cpu": "9"}, "defaultRequest": {"cpu": "1"}}]}},
        "spec.limits[0].default.cpu",
        "9",
    ),
    "ServiceAccount": ({"automountServiceAccountToken": True}, "automountServiceAccountToken", True),
    "Role": ({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]}, "rules[0].resources", ["pods"]),
    "RoleBinding": ({"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]}, "", None),
    "NetworkPolicy": ({"spec": {"ingress": [{}]}}, "", None),
}


def object_of(keeper: Keeper, tenant: "Tenant", kind: str) -> Object:
    return next(obj for obj in keeper.wanted(tenant) if obj["kind"] == kind)


def test_what_is_changed_by_hand_is_put_back_and_told(keeper: Keeper) -> None:
    from tenants.models import AuditEntry, Tenant

    tenant = keeper.ready(keeper.team())
    for number, kind in enumerate(KEEPS, 1):
        obj = object_of(keeper, tenant, kind)
        body, where, found = BY_HAND[kind]
        patch(keeper.cluster, kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], body)
        until(lambda number=number: len(keeper.reports(tenant)) == number, f"the report on {kind}")  # type: ignore[misc]
        target, before, after = keeper.reports(tenant)[-1]
        assert target == f"{kind} {obj['metadata']['name']}" and before.keys() == after.keys()
        if where:
            assert before[where] == found
        assert keeper.stands(tenant), kind
    row = Tenant.objects.get(pk=tenant.pk)
    assert row.drift_at is not None and row.apply_error == ""
    line = AuditEntry.objects.filter(action="namespace.drift-corrected").last()
    assert line is not None and (line.actor, line.actor_kind, line.via) == ("platform", "platform", "reconciler")


@pytest.mark.parametrize("label", ["managed-by", "tenant", "cost-center"])
def test_a_label_that_is_taken_away_comes_back(keeper: Keeper, label: str) -> None:
    tenant = keeper.ready(keeper.team())
    for kind in KEEPS:
        obj = object_of(keeper, tenant, kind)
        where = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        patch(keeper.cluster, kind, *where, {"metadata": {"labels": {label: None}}})
    until(lambda: len(keeper.reports(tenant)) == len(KEEPS), "a report for each kind")
    assert keeper.stands(tenant)
    path = f"metadata.labels.{label}"
    assert all(before == {path: None} for _, before, _ in keeper.reports(tenant))
    assert {after[path] for _, _, after in keeper.reports(tenant)} == {
        object_of(keeper, tenant, "Namespace")["metadata"]["labels"][label]
    }


def test_what_is_deleted_by_hand_is_made_again(keeper: Keeper) -> None:
    tenant = keeper.ready(keeper.team())
    for kind in KEEPS[1:]:
        obj = object_of(keeper, tenant, kind)
        keeper.cluster.delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
    until(lambda: len(keeper.reports(tenant)) == len(KEEPS) - 1, "a report for each kind")
    assert keeper.stands(tenant)
    gone = ({"object": "absent"}, {"object": "present"})
    assert [(before, after) for _, before, after in keeper.reports(tenant)] == [gone] * (len(KEEPS) - 1)


def test_a_namespace_that_is_deleted_by_hand_is_made_again_with_all_that_was_in_it(keeper: Keeper) -> None:
    from tenants.models import Tenant

    tenant = keeper.ready(keeper.team())
    keeper.cluster.delete("Namespace", "", f"ml-{tenant.slug}")
    until(lambda: keeper.reports(tenant), "the report", 60)
    assert keeper.stands(keeper.ready(tenant))
    assert keeper.reports(tenant) == [(f"Namespace ml-{tenant.slug}", {"object": "absent"}, {"object": "present"})]
    assert Tenant.objects.get(pk=tenant.pk).namespace_uid != tenant.namespace_uid


def test_a_binding_to_another_role_is_replaced_though_it_cannot_be_changed(keeper: Keeper) -> None:
    """Kubernetes refuses to change a binding's role; somebody may delete it and make another under its name."""
    tenant = keeper.ready(keeper.team())
    keeper.running.reconciler.stop()
    binding = object_of(keeper, tenant, "RoleBinding")
    keeper.cluster.delete("RoleBinding", binding["metadata"]["namespace"], binding["metadata"]["name"])
    until(lambda: keeper.get(binding) is None, "the deletion")
    create(keeper.cluster, binding | {"roleRef": binding["roleRef"] | {"kind": "ClusterRole", "name": "view"}})
    with Running(keeper.running.reconciler.cluster):
        until(lambda: keeper.reports(tenant), "the report")
        assert keeper.stands(tenant)


def test_a_namespace_that_is_not_ours_is_neither_taken_nor_deleted(keeper: Keeper) -> None:
    from tenants.models import AuditEntry, Tenant
    from tenants.services import tenant_delete

    slug = f"t-{uuid.uuid4().hex[:8]}"
    theirs = create(
        keeper.cluster,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ml-{slug}", "labels": {"of": "others"}}},
    )
    try:
        from tenants.services import tenant_create

        tenant_create(slug=slug, name="A team")
        row = until(lambda: Tenant.objects.filter(slug=slug).exclude(apply_error="").first(), "the error")
        assert f"The namespace ml-{slug} exists already and is not this team's" in row.apply_error
        assert row.applied_at is None
        tenant_delete(slug=slug, confirm=slug)
        until(lambda: not Tenant.objects.filter(slug=slug).exists(), "the end of the row")
        after = keeper.cluster.get("Namespace", "", f"ml-{slug}")
        assert after is not None and after["metadata"]["uid"] == theirs["metadata"]["uid"]
        assert "deletionTimestamp" not in after["metadata"] and "tenant" not in after["metadata"]["labels"]
        assert keeper.cluster.list("ResourceQuota", f"ml-{slug}") == []
        assert AuditEntry.objects.filter(action="tenant.deleted", tenant_slug=slug).count() == 1
    finally:
        keeper.cluster.delete("Namespace", "", f"ml-{slug}")


def test_deleting_waits_until_the_namespace_has_gone_and_says_what_holds_it(keeper: Keeper) -> None:
    from tenants.models import AuditEntry, Tenant
    from tenants.services import tenant_delete

    tenant = keeper.ready(keeper.team())
    namespace = f"ml-{tenant.slug}"
    held = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "held", "namespace": namespace, "finalizers": ["example.com/hold"]},
    }
    create(keeper.cluster, held)
    tenant_delete(slug=tenant.slug, confirm=tenant.slug)
    row = until(
        lambda: Tenant.objects.filter(pk=tenant.pk, apply_error__contains="serviceaccounts").first(), "the reason", 60
    )
    assert row.apply_error.startswith(f"The namespace {namespace} is waiting to end: ")
    assert row.deleting_at is not None and not row.accepts_work
    patch(keeper.cluster, "ServiceAccount", namespace, "held", {"metadata": {"finalizers": None}})
    until(lambda: not Tenant.objects.filter(pk=tenant.pk).exists(), "the end of the row", 60)
    assert keeper.cluster.get("Namespace", "", namespace) is None
    lines = AuditEntry.objects.filter(tenant_id=tenant.pk).order_by("id").values_list("action", flat=True)
    assert list(lines) == ["tenant.create", "tenant.delete", "tenant.deleted"]
    line = AuditEntry.objects.get(action="tenant.deleted")
    assert line.after is not None and line.after["files_left_at"].endswith(f"/artifacts/{tenant.slug}")


def test_somebody_who_insists_is_answered_less_and_less_and_told_of_once(keeper: Keeper) -> None:
    tenant = keeper.ready(keeper.team())
    quota = object_of(keeper, tenant, "ResourceQuota")
    where = "ResourceQuota", quota["metadata"]["namespace"], quota["metadata"]["name"]
    began, corrected = time.monotonic(), 0
    while time.monotonic() < began + 8:
        standing = keeper.get(quota)
        assert standing is not None
        if standing["spec"]["hard"]["pods"] == "100":
            corrected += 1
            patch(keeper.cluster, *where, {"spec": {"hard": {"pods": "5"}}})
        time.sleep(0.05)
    # At once, and then after half a second, one, two, four …
    assert 3 <= corrected - 1 <= 5
    assert len(keeper.reports(tenant)) == 1
    until(lambda: keeper.stands(tenant), "the last word", 20)


def test_two_reconcilers_put_back_once_and_tell_once(keeper: Keeper) -> None:
    tenant = keeper.ready(keeper.team())
    with Running(keeper.running.reconciler.cluster) as second:
        until(lambda: second.reconciler.view.synced, "the second one's view")
        for kind in KEEPS[1:]:
            obj = object_of(keeper, tenant, kind)
            keeper.cluster.delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        until(lambda: len(keeper.reports(tenant)) == len(KEEPS) - 1, "a report for each kind")
        until(lambda: keeper.ready(tenant), "peace")
    assert keeper.stands(tenant)
    assert len(keeper.reports(tenant)) == len(KEEPS) - 1
