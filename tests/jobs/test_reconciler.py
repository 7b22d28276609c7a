"""Rows become Jobs, and what the cluster says becomes the row's state, round by round."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import lifecycle, writeback
from jobs.models import JobDuration, JobLog, TrainingJob
from jobs.reconciler import Reconciler, _row
from jobs.services import job_submit
from platform_portal.kube.errors import Conflict, Expired, Refused, Unavailable
from tenants.models import Tenant
from tests.jobs.fake_cluster import NO_ANSWER, FakeCluster
from tests.jobs.rounds import due_now, failing, fresh, look, rounds, submit, told
from tests.personas import Team, team

pytestmark = pytest.mark.django_db


# ---- the way of a job


def test_from_the_row_to_a_success(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.attempts) == ("pending", "Submitted", 1)
    standing = cluster.job()
    assert row.kubernetes_job_name == standing["metadata"]["name"] == f"a-{job.pk.hex[:8]}"
    assert row.cluster_uid == standing["metadata"]["uid"] and row.lease_until is None and row.observed_at
    pod = cluster.add_pod(standing)
    rounds(reconciler)
    assert fresh(job).reason == "Starting"
    cluster.run(pod)
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason) == ("running", "Running") and row.started_at
    assert JobLog.objects.filter(job=job, due_at__isnull=False).exists()
    cluster.end(standing, pod)
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.exit_code, row.next_check_at) == ("succeeded", "Completed", 0, None)
    assert told(job) == ["Queued", "CreatedInCluster", "Running", "Completed"]
    assert JobDuration.objects.get().status == "succeeded"
    calls = len(cluster.calls)
    rounds(reconciler)
    assert fresh(job).version == row.version, "an ended row is left alone"
    assert cluster.verbs() == ["create"] + ["get"] * (cluster.verbs().count("get")) and len(cluster.calls) > calls


def test_a_failure_says_why(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    rounds(reconciler)
    standing = cluster.job()
    cluster.end(standing, cluster.add_pod(standing), 137, reason="OOMKilled")
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.exit_code) == ("failed", "OutOfMemory", 137)
    assert row.error_message == "The program used more memory than its limit."


def test_nothing_new_costs_nothing(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, django_assert_num_queries: Any
) -> None:
    submit(ours)
    rounds(reconciler)
    cluster.run(cluster.add_pod(cluster.job()))
    rounds(reconciler, 5)
    reconciler._sweep_at = reconciler._contact_at = 1e12
    with reconciler._lock:
        reconciler._later.clear()
    look(reconciler)
    with django_assert_num_queries(0):
        assert reconciler.step() is False


def test_many_rows_go_in_one_batch(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    for number in range(30):
        submit(ours, f"job-{number}", compute={"cpu_cores": 1, "memory_gb": 1})
    rounds(reconciler, 4)
    assert cluster.verbs().count("create") == 30
    assert set(TrainingJob.objects.values_list("reason", flat=True)) == {"Submitted"}
    assert cluster.verbs("Namespace") == ["get", "create", "apply"], "the namespace is applied once for all of them"


# ---- creating


def test_a_create_whose_answer_was_lost_finds_its_own_job(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    cluster.trouble = failing(NO_ANSWER, "after-create", 1)
    reconciler.step()
    row = fresh(job)
    assert (row.status, row.reason, row.observed_at, row.cluster_uid) == ("pending", "Queued", None, "")
    assert row.failures == 1 and row.lease_until is None
    due_now(job)
    rounds(reconciler)
    assert fresh(job).cluster_uid == cluster.job()["metadata"]["uid"]


def test_a_reconciler_that_died_after_the_create_runs_nothing_twice(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(ours)

    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reconciler, "_finish", die)
    with pytest.raises(KeyboardInterrupt):
        reconciler.step()
    monkeypatch.undo()
    leased = fresh(job)
    assert leased.cluster_uid == "" and leased.lease_until is not None and leased.kubernetes_job_name
    successor = Reconciler(cluster)  # type: ignore[arg-type]
    rounds(successor)
    assert fresh(job).version == leased.version, "the lease of the dead one is respected"
    TrainingJob.objects.update(lease_until=timezone.now() - timedelta(seconds=1), next_check_at=timezone.now())
    rounds(successor)
    row = fresh(job)
    assert (row.reason, row.cluster_uid) == ("Submitted", cluster.job()["metadata"]["uid"])
    successor._pool.shutdown()


def test_two_reconcilers_create_once(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    other = Reconciler(cluster)  # type: ignore[arg-type]
    look(other)
    job = submit(ours)
    row = fresh(job)
    decision = lifecycle.decide(_row(row), lifecycle.Seen(), timezone.now())
    now = timezone.now()
    won = [
        writeback.claim([fresh(job)], owner, now, now + timedelta(seconds=9), ["a"])
        for owner in (reconciler.id, other.id)
    ]
    assert won == [{job.pk}, set()] and decision.action is lifecycle.Action.CREATE
    assert writeback.claim([row], other.id, now, now, ["a"]) == set(), "its version has moved"
    other._pool.shutdown()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Refused(422, "Invalid", "spec.x: bad"), "failed", "RejectedByCluster"),
        (Refused(400, "BadRequest", "bad"), "failed", "RejectedByCluster"),
        (Refused(403, "Forbidden", "exceeded quota: x"), "pending", "QuotaExceeded"),
        (Refused(403, "Forbidden", "no rights"), "pending", "ClusterRefused"),
    ],
)
def test_a_refusal_is_final_or_waited_for(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, error: Refused, status: str, reason: str
) -> None:
    job = submit(ours)
    cluster.trouble = failing(error, "create")
    reconciler.step()
    row = fresh(job)
    assert (row.status, row.reason, row.error_message) == (status, reason, error.message)
    assert (row.next_check_at is None) == (status == "failed") and row.observed_at is not None
    for _ in range(10):
        reconciler.step()
    assert cluster.verbs().count("create") == 1, "not asked again before it is due"
    if status == "pending":
        cluster.trouble = lambda *call: None
        due_now(job)
        rounds(reconciler)
        assert (fresh(job).reason, fresh(job).error_message, fresh(job).failures) == ("Submitted", "", 0)


@pytest.mark.parametrize(
    "error",
    [
        NO_ANSWER, Unavailable(429, "TooManyRequests", "slow down"), Unavailable(500, "InternalError", "x"),
        Conflict(409, "Conflict", "the object has been modified"), Expired(410, "Expired", "x"),
    ],
    ids=lambda error: str(error.status),
)  # fmt: skip
def test_no_answer_changes_neither_state_nor_the_time_it_was_seen(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, error: Exception
) -> None:
    job = submit(ours)
    cluster.trouble = failing(error, "create")
    for _ in range(5):
        reconciler.step()
    row = fresh(job)
    assert (row.status, row.reason, row.error_message, row.observed_at) == ("pending", "Queued", "", None)
    assert (
        row.failures == 1 and row.next_check_at and row.next_check_at > timezone.now() and cluster.verbs() == ["create"]
    )
    cluster.trouble = lambda *call: None
    reconciler._blocked_until = 0
    due_now(job)
    rounds(reconciler)
    assert fresh(job).reason == "Submitted" and fresh(job).failures == 0


def test_the_wait_is_as_long_as_the_server_asks(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    cluster.trouble = failing(Unavailable(429, "TooManyRequests", "", {"details": {"retryAfterSeconds": 40}}), "create")
    reconciler.step()
    due = fresh(job).next_check_at
    assert due is not None and due > timezone.now() + timedelta(seconds=39)


def test_a_cluster_that_is_away_is_left_alone_for_a_while(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    jobs = [submit(ours, f"job-{number}") for number in range(5)]
    cluster.trouble = failing(NO_ANSWER, "create")
    reconciler.step()
    asked = cluster.verbs().count("create")
    for job in jobs:
        due_now(job)
    reconciler.sweep_now()
    reconciler.step()
    assert cluster.verbs().count("create") == asked == 5
    cluster.trouble = lambda *call: None
    reconciler._blocked_until = 0
    rounds(reconciler)
    assert set(TrainingJob.objects.values_list("reason", flat=True)) == {"Submitted"}


def test_a_foreign_object_of_the_name_is_an_error(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    cluster.apply({"kind": "Namespace", "metadata": {"name": "ml-ours", "labels": {"managed-by": "ml-platform"}}})
    cluster.apply({"kind": "Job", "metadata": {"name": f"a-{job.pk.hex[:8]}", "namespace": "ml-ours", "labels": {}}})
    rounds(reconciler)
    assert (fresh(job).status, fresh(job).reason) == ("failed", "NameConflict")
    assert len([key for key in cluster.objects if key[0] == "Job"]) == 1, "it is left alone"


def test_a_namespace_that_went_is_made_again(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    submit(ours, "first")
    rounds(reconciler)
    cluster.objects.clear()
    job = submit(ours, "second")
    rounds(reconciler)
    due_now(job)
    rounds(reconciler)
    assert fresh(job).reason == "Submitted" and ("Namespace", "", "ml-ours") in cluster.objects


def test_a_namespace_that_is_refused_is_said_and_others_are_not_held_up(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    other = team("others")
    cluster.trouble = failing(Refused(403, "Forbidden", "no rights"), "apply", kind="ResourceQuota", times=1)
    job = submit(ours)
    reconciler.step()
    row = fresh(job)
    sentence = "The cluster refuses ResourceQuota ours-quota: no rights"
    assert (row.status, row.reason, row.error_message) == ("pending", "ClusterRefused", sentence)
    theirs = job_submit(ctx=other.ctx, payload={"name": "b"})
    rounds(reconciler)
    assert fresh(theirs).reason == "Submitted"


def test_what_a_tenant_wants_is_applied_again_when_it_changes(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    submit(ours, "first")
    rounds(reconciler)
    Tenant.objects.update(quota_cpu=11)
    submit(ours, "second")
    rounds(reconciler)
    assert cluster.objects["ResourceQuota", "ml-ours", "ours-quota"]["spec"]["hard"]["requests.cpu"] == "11"
    assert cluster.verbs("Namespace") == ["get", "create", "apply", "get", "apply"]
