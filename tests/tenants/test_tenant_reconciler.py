"""The reconciler of namespaces where the cluster errs, and what it costs while nothing happens."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from platform_portal.kube.errors import ClusterError, Refused
from tenants.models import AuditEntry, Tenant
from tenants.reconciler import TenantReconciler, claim
from tenants.services import tenant_delete, tenant_update
from tests.jobs.fake_cluster import NO_ANSWER, FakeCluster
from tests.personas import Team


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def reconciler(cluster: FakeCluster) -> Iterator[TenantReconciler]:
    one = TenantReconciler(cluster, workers=1)  # type: ignore[arg-type]
    yield one
    one._pool.shutdown()


def look(reconciler: TenantReconciler) -> None:
    """The watches catch up with the cluster."""
    for informer in reconciler.view.informers.values():
        informer._relist()


def rounds(reconciler: TenantReconciler, count: int = 3) -> None:
    for _ in range(count):
        look(reconciler)
        reconciler._sweep_at = reconciler._all_at = 0.0
        reconciler.step()


def failing(error: ClusterError, verb: str, kind: str = "") -> Any:
    def trouble(called: str, of_kind: str, name: str) -> None:
        if called == verb and kind in ("", of_kind):
            raise error

    return trouble


def fresh() -> Tenant:
    return Tenant.objects.get()


def test_a_cluster_that_does_not_answer_is_claimed_nothing_of(
    ours: Team, reconciler: TenantReconciler, cluster: FakeCluster
) -> None:
    rounds(reconciler)
    before = Tenant.objects.values().get()
    tenant_update(slug="ours", quota_cpu=5)
    cluster.trouble = failing(NO_ANSWER, "get")
    reconciler._sweep_at = 0.0
    reconciler.step()
    after = Tenant.objects.values().get()
    assert after | {"version": 0, "quota_cpu": 0} == before | {"version": 0, "quota_cpu": 0}
    assert after["lease_until"] is None


def test_a_refusal_is_a_sentence_until_it_is_over(
    ours: Team, reconciler: TenantReconciler, cluster: FakeCluster
) -> None:
    rounds(reconciler)
    applied = fresh().applied_at
    tenant_update(slug="ours", quota_cpu=5)
    cluster.trouble = failing(Refused(403, "Forbidden", "not by you"), "apply", "ResourceQuota")
    rounds(reconciler, 1)
    row = fresh()
    assert row.apply_error == "The cluster refuses ResourceQuota ours-quota: not by you"
    assert row.applied_at == applied and row.lease_until is None
    asked = len(cluster.calls)
    rounds(reconciler, 2)
    assert not [call for call in cluster.calls[asked:] if call[0] == "apply"], "it is given time"
    cluster.trouble = lambda verb, kind, name: None
    tenant_update(slug="ours", quota_cpu=6)
    rounds(reconciler, 1)
    assert (
        fresh().apply_error,
        cluster.objects["ResourceQuota", "ml-ours", "ours-quota"]["spec"]["hard"]["limits.cpu"],
    ) == (
        "",
        "6",
    )


def test_what_another_one_holds_is_left_to_it(ours: Team, reconciler: TenantReconciler, cluster: FakeCluster) -> None:
    now = timezone.now()
    assert claim([ours.tenant], uuid.uuid4(), now) == {ours.tenant.pk}
    assert claim([ours.tenant], uuid.uuid4(), now) == set()
    rounds(reconciler)
    assert not [call for call in cluster.calls if call[0] != "list"]
    Tenant.objects.update(lease_until=now - timedelta(seconds=1))
    rounds(reconciler)
    assert fresh().applied_at is not None


def test_a_row_that_changed_since_it_was_read_is_not_claimed(ours: Team) -> None:
    tenant_update(slug="ours", quota_cpu=5)
    assert claim([ours.tenant], uuid.uuid4(), timezone.now()) == set()


def test_at_rest_it_asks_the_database_little_and_the_cluster_nothing(
    ours: Team, theirs: Team, reconciler: TenantReconciler, cluster: FakeCluster
) -> None:
    rounds(reconciler, 4)
    asked = len(cluster.calls)
    # Half a minute: a sweep each five seconds.
    with CaptureQueriesContext(connection) as queries:
        for _ in range(6):
            reconciler._sweep_at = 0.0
            reconciler.step()
    assert len(queries) == 6
    reconciler._all_at = 0.0
    with CaptureQueriesContext(connection) as queries:
        reconciler.step()
    assert len(queries) <= 3
    assert cluster.calls[asked:] == []


def test_the_counters_of_a_quota_cost_nothing(ours: Team, reconciler: TenantReconciler, cluster: FakeCluster) -> None:
    rounds(reconciler, 4)
    reconciler.queue.take(100)
    quota = cluster.objects["ResourceQuota", "ml-ours", "ours-quota"]
    for used in range(50):
        quota["status"] = {"used": {"pods": str(used)}}
        quota["metadata"]["resourceVersion"] = str(used)
        reconciler.view.informers["ResourceQuota"]._relist()
    assert reconciler.queue.take(100) == []


def test_a_namespace_in_the_making_is_finished_by_the_next(
    ours: Team, reconciler: TenantReconciler, cluster: FakeCluster
) -> None:
    """Cut off after each of the calls in turn, as a killed process is; whoever comes next brings it to its end."""
    for number in range(1, 11):
        cluster.objects.clear()
        Tenant.objects.update(applied_digest="", applied_at=None, namespace_uid="", lease_until=None)
        left = [number]

        def cut(verb: str, kind: str, name: str, left: list[int] = left) -> None:
            if verb in ("get", "create", "apply"):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt

        cluster.trouble = cut
        reconciler.queue.add("ours")
        try:
            reconciler.step()
        except KeyboardInterrupt:
            Tenant.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        cluster.trouble = lambda verb, kind, name: None
        second = TenantReconciler(cluster, workers=1)  # type: ignore[arg-type]
        rounds(second, 2)
        second._pool.shutdown()
        assert fresh().applied_at is not None
        assert len(cluster.objects) == 8, number
    assert not AuditEntry.objects.filter(action="namespace.drift-corrected").exists()


def test_a_deletion_is_finished_by_the_next_wherever_it_was_cut_off(
    ours: Team, reconciler: TenantReconciler, cluster: FakeCluster
) -> None:
    rounds(reconciler)
    tenant_delete(slug="ours", confirm="ours")
    cluster.lingering = True
    rounds(reconciler, 2)
    assert cluster.verbs("Namespace")[-1] in ("get", "delete")
    assert cluster.objects["Namespace", "", "ml-ours"]["metadata"]["deletionTimestamp"]
    assert fresh().deleting_at is not None, "asked for is not gone"
    cluster.trouble = failing(NO_ANSWER, "get")
    cluster.objects.clear()
    reconciler._failing.clear()
    reconciler.queue.add("ours")
    reconciler.step()
    assert fresh().deleting_at is not None, "no answer is not gone"
    cluster.trouble = lambda verb, kind, name: None
    second = TenantReconciler(cluster, workers=1)  # type: ignore[arg-type]
    rounds(second, 2)
    second._pool.shutdown()
    assert not Tenant.objects.exists()
    assert AuditEntry.objects.filter(action="tenant.deleted").count() == 1
