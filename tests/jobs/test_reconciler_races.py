"""Cancelling, what the cluster does by itself, and the reconciler's own trouble: who wins, and that nothing is lost."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone

from jobs import logs, view, writeback
from jobs.models import JobDuration, JobEvent, Status, TrainingJob
from jobs.observed import EventView
from jobs.reconciler import SILENT_SECONDS, Reconciler
from jobs.services import job_cancel
from jobs.writeback import Outcome
from platform_portal.kube.errors import Refused, Unavailable
from tenants.models import ClusterContact
from tests.jobs.fake_cluster import NO_ANSWER, FakeCluster
from tests.jobs.rounds import due_now, failing, fresh, look, rounds, submit, told
from tests.personas import Team

pytestmark = pytest.mark.django_db(transaction=True)


# ---- cancelling


def test_a_cancelled_job_ends_only_once_it_was_seen_absent(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.run(cluster.add_pod(cluster.job()))
    rounds(reconciler)
    cluster.lingering = True
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.completed_at) == ("running", "Cancelling", None)
    cluster.vanish("Job", "ml-ours", row.kubernetes_job_name)
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.next_check_at) == ("cancelled", "CancelledByUser", None)
    assert told(job)[-2:] == ["CancelRequested", "CancelledByUser"]
    assert JobDuration.objects.get().status == "cancelled"


def test_a_cancel_during_the_create_is_not_lost(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)

    def cancel(verb: str, kind: str, name: str) -> None:
        if verb == "after-create":
            cluster.trouble = lambda *call: None
            job_cancel(ctx=ours.context("lead"), job_id=job.pk)

    cluster.trouble = cancel
    reconciler.step()
    row = fresh(job)
    assert row.reason == "Cancelling" and row.cluster_uid, "what is true of the cluster is kept, the wish too"
    rounds(reconciler, 4)
    row = fresh(job)
    assert (row.status, row.reason) == ("cancelled", "CancelledByUser")
    assert not [key for key in cluster.objects if key[0] == "Job"]


def test_a_cancel_while_the_create_is_refused_wins(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)

    def cancel(verb: str, kind: str, name: str) -> None:
        if verb == "create" and kind == "Job":
            cluster.trouble = lambda *call: None
            job_cancel(ctx=ours.context("lead"), job_id=job.pk)
            raise Refused(422, "Invalid", "bad")

    cluster.trouble = cancel
    reconciler.step()
    assert fresh(job).status == "pending"
    rounds(reconciler)
    assert fresh(job).status == "cancelled" and "RejectedByCluster" not in told(job)


def test_a_cancel_while_the_cluster_is_away_waits_for_it(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.trouble = failing(NO_ANSWER, "delete")
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    reconciler.sweep_now()
    for _ in range(3):
        reconciler.step()
    row = fresh(job)
    assert (row.status, row.reason) == ("pending", "Cancelling") and cluster.verbs().count("delete") == 1
    cluster.trouble = lambda *call: None
    reconciler._blocked_until = 0
    due_now(job)
    rounds(reconciler)
    assert fresh(job).status == "cancelled"


def test_a_job_that_nobody_touched_is_cancelled_at_once_and_never_created(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    assert job_cancel(ctx=ours.context("lead"), job_id=job.pk).status == "cancelled"
    rounds(reconciler)
    assert cluster.verbs() == [] and fresh(job).status == "cancelled"


def test_a_late_job_of_a_cancelled_row_is_taken_away(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    rounds(reconciler)
    TrainingJob.objects.filter(pk=job.pk).update(
        status="cancelled", reason="CancelledByUser", completed_at=timezone.now()
    )
    reconciler.mark(str(job.pk))
    rounds(reconciler)
    assert not [key for key in cluster.objects if key[0] == "Job"] and fresh(job).status == "cancelled"


def test_the_last_lines_are_kept_before_the_deletion(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.run(cluster.add_pod(cluster.job()))
    cluster.logs["pod-1", "training"] = b"epoch 1\nepoch 2\n"
    rounds(reconciler)
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    rounds(reconciler)
    assert logs.read(fresh(job)).data == b"epoch 1\nepoch 2\n" and fresh(job).status == "cancelled"


def test_a_log_that_cannot_be_read_is_no_reason_not_to_delete(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.run(cluster.add_pod(cluster.job()))
    rounds(reconciler)
    cluster.trouble = failing(Unavailable(500, "InternalError", "kubelet"), "log", kind="Pod")
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    rounds(reconciler)
    assert fresh(job).status == "cancelled"


# ---- what the cluster does by itself


@pytest.mark.parametrize("in_view", ["nothing", "running"])
def test_an_end_whose_pod_is_not_in_view_is_explained_by_the_server(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, in_view: str
) -> None:
    """The watch of pods is late by more than the end waits for it, as after an outage."""
    job = submit(ours)
    rounds(reconciler)
    standing, pods = cluster.job(), reconciler.view.informers[1]
    pod = cluster.add_pod(standing)
    if in_view == "running":
        cluster.run(pod)
        rounds(reconciler)
    pods._relist = lambda: "1"  # type: ignore[method-assign]
    cluster.end(standing, pod, 137, ago=10, reason="OOMKilled")
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.exit_code) == ("failed", "OutOfMemory", 137) and row.started_at
    assert "Running" in told(job)


def test_a_job_deleted_by_hand_fails_once_it_is_gone(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.vanish("Job", "ml-ours", fresh(job).kubernetes_job_name)
    rounds(reconciler)
    assert (fresh(job).status, fresh(job).reason) == ("failed", "DeletedInCluster")
    assert cluster.verbs().count("create") == 1


def test_a_view_without_the_job_is_not_believed_when_the_server_has_it(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    for informer in reconciler.view.informers:
        for uid in list(informer._objects):
            informer._forget(uid)
    reconciler.step()
    assert fresh(job).status == "pending" and cluster.verbs()[-1] == "get"


def test_an_object_of_another_id_under_the_name_is_not_ours(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    standing = cluster.job()
    standing["metadata"] |= {
        "uid": str(uuid4()),
        "labels": standing["metadata"]["labels"] | {"ml-platform/job-id": str(uuid4())},
    }
    rounds(reconciler)
    assert fresh(job).reason == "DeletedInCluster" and cluster.job() is standing


def test_a_pod_of_another_namespace_that_names_the_job_says_nothing(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    forged = cluster.add_pod(cluster.job())
    del cluster.objects["Pod", "ml-ours", "pod-1"]
    forged["metadata"]["namespace"] = "ml-evil"
    cluster.objects["Pod", "ml-evil", "pod-1"] = forged
    cluster.run(forged)
    rounds(reconciler)
    assert fresh(job).status == "pending"


@pytest.mark.parametrize("label", ["", "no-id", "x" * 63])
def test_a_label_that_is_no_id_stops_nothing(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, label: str
) -> None:
    labels = {"managed-by": "ml-platform", "ml-platform/job-id": label}
    for kind in ("Job", "Pod"):
        cluster._store({"kind": kind, "metadata": {"name": "x", "namespace": "ml-ours", "labels": labels}})
    job = submit(ours)
    rounds(reconciler)
    assert fresh(job).reason == "Submitted"


def test_kubernetes_events_are_in_the_timeline_once_with_their_count(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    standing = cluster.job()
    about = {
        "kind": "Job",
        "namespace": "ml-ours",
        "name": standing["metadata"]["name"],
        "uid": standing["metadata"]["uid"],
    }
    made = cluster._store({"kind": "Event", "metadata": {"name": "e", "namespace": "ml-ours"}, "involvedObject": about})
    made |= {"type": "Warning", "reason": "FailedCreate", "message": "exceeded quota: ours-quota", "count": 1}
    rounds(reconciler)
    made["count"] = 5
    rounds(reconciler)
    event = JobEvent.objects.get(job=job, source="kubernetes")
    assert (event.reason, event.count, event.level, event.message) == (
        "FailedCreate",
        5,
        "warning",
        "exceeded quota: ours-quota",
    )
    assert event.at >= job.created_at
    assert (fresh(job).reason, fresh(job).error_message) == ("QuotaExceeded", "exceeded quota: ours-quota")


def test_an_event_before_its_object_waits_for_it(ours: Team, cluster: FakeCluster, reconciler: Reconciler) -> None:
    job = submit(ours)
    reconciler.step()
    pod = cluster.add_pod(cluster.job())
    about = {"kind": "Pod", "namespace": "ml-ours", "name": "pod-1", "uid": pod["metadata"]["uid"]}
    made = cluster._store({"kind": "Event", "metadata": {"name": "e", "namespace": "ml-ours"}, "involvedObject": about})
    made |= {"reason": "Scheduled", "message": "assigned"}
    reconciler.view.informers[2]._relist()
    rounds(reconciler)
    assert "Scheduled" in told(job)


def test_events_of_jobs_that_are_no_rows_and_of_other_namespaces_are_dropped(
    ours: Team, reconciler: Reconciler
) -> None:
    job = submit(ours)
    at = timezone.now()
    for number, (job_id, namespace) in enumerate(
        [(str(uuid4()), "ml-ours"), (str(job.pk), "ml-evil"), (str(job.pk), "ml-ours")]
    ):
        event = EventView(f"e{number}", namespace, "Pod", "p", "u", "Normal", f"Said{number}", "", at, 2**40)
        reconciler.events.add(job_id, event)
    reconciler.events.flush()
    assert told(job) == ["Queued", "Said2"]
    assert JobEvent.objects.get(reason="Said2").count == 2**31 - 1


def test_events_that_could_not_be_written_are_written_later(
    ours: Team, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(ours)
    event = EventView("e", "ml-ours", "Pod", "p", "u", "Normal", "Pulled", "", timezone.now(), 1)
    reconciler.events.add(str(job.pk), event)
    for error, told_of in ((OperationalError("gone"), True), (IntegrityError("the job is gone"), False)):
        with monkeypatch.context() as patch:
            patch.setattr(reconciler.events, "_write", failing_once(error))
            if told_of:
                with pytest.raises(OperationalError):
                    reconciler.events.flush()
            else:
                assert reconciler.events.flush() == 0
    newer = replace(event, count=7)
    reconciler.events.add(str(job.pk), newer)
    assert reconciler.events.flush() == 1 and JobEvent.objects.get(reason="Pulled").count == 7


def failing_once(error: Exception) -> Any:
    def fail(taken: Any) -> None:
        raise error

    return fail


def test_what_the_view_remembers_of_unknown_objects_is_bounded(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MAX_REFUSALS", 5)
    monkeypatch.setattr(view, "MAX_EARLY", 5)
    for number in range(20):
        event = EventView(
            f"e{number}", "ml-x", "Job", "j", f"u{number}", "Warning", "FailedCreate", "", timezone.now(), 1
        )
        reconciler.view._on_event(event.uid, None, event)
    assert list(reconciler.view._refusals) == list(reconciler.view._early) == [f"u{number}" for number in range(15, 20)]
    reconciler.view._on_event("e19", event, None)
    assert len(reconciler.view._early) == 5, "that an event is forgotten says nothing"


def test_a_deletion_that_is_refused_is_tried_again_later(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.trouble = failing(Refused(403, "Forbidden", "no rights"), "delete")
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    rounds(reconciler)
    row = fresh(job)
    assert (row.status, row.reason, row.failures) == ("pending", "Cancelling", 1)
    cluster.trouble = lambda *call: None
    due_now(job)
    rounds(reconciler)
    assert fresh(job).status == "cancelled"


def test_a_job_to_cancel_that_is_out_of_view_is_found_and_deleted(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    for informer in reconciler.view.informers:
        for uid in list(informer._objects):
            informer._forget(uid)
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    reconciler.sweep_now()
    reconciler.step()
    assert cluster.verbs()[-2:] == ["get", "delete"] and fresh(job).status == "pending"
    rounds(reconciler)
    assert fresh(job).status == "cancelled"


def test_a_lost_database_is_no_reason_not_to_delete(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(ours)
    rounds(reconciler)
    cluster.run(cluster.add_pod(cluster.job()))
    rounds(reconciler)

    def gone(*arguments: Any, **options: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(logs, "collect", gone)
    job_cancel(ctx=ours.context("lead"), job_id=job.pk)
    rounds(reconciler)
    assert fresh(job).status == "cancelled"


def test_a_row_that_somebody_else_took_is_looked_at_again(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(ours)
    with monkeypatch.context() as patch:
        patch.setattr(writeback, "claim", lambda *arguments: set())
        reconciler.step()
    assert cluster.verbs() == [] and str(job.pk) in {job_id for _, job_id in reconciler._later}
    reconciler._later[:] = [(0.0, job_id) for _, job_id in reconciler._later]
    reconciler.step()
    assert cluster.verbs() == ["create"], "what was put off comes when its time has come"


# ---- itself


def test_contact_is_written_when_the_cluster_answers_and_the_error_when_not(
    cluster: FakeCluster, reconciler: Reconciler
) -> None:
    reconciler.step()
    seen = ClusterContact.objects.get()
    assert seen.seen_at and not seen.error
    cluster.trouble = failing(NO_ANSWER, "ping", kind="")
    reconciler._contact_at = 0
    reconciler.step()
    again = ClusterContact.objects.get()
    assert again.seen_at == seen.seen_at and "does not answer" in again.error


def test_nothing_is_said_of_contact_before_everything_is_in_view(cluster: FakeCluster) -> None:
    blind = Reconciler(cluster)  # type: ignore[arg-type]
    blind.step()
    assert not ClusterContact.objects.exists()
    blind._pool.shutdown()


def test_watches_that_have_gone_silent_are_no_contact(reconciler: Reconciler) -> None:
    for informer in reconciler.view.informers:
        informer.last_contact -= SILENT_SECONDS + 1
    reconciler._record_contact()
    assert not ClusterContact.objects.exists()


def test_what_happened_while_nobody_watched_is_caught_up(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    job = submit(ours)
    rounds(reconciler)
    standing = cluster.job()
    cluster.end(standing, cluster.add_pod(standing))
    successor = Reconciler(cluster)  # type: ignore[arg-type]
    look(successor)
    with successor._lock:
        successor._dirty.clear()
    successor.step()
    successor.step()
    assert fresh(job).status == "succeeded"
    successor._pool.shutdown()


def test_a_batch_that_failed_comes_again(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(ours)
    with monkeypatch.context() as patch:
        patch.setattr(reconciler, "_reconcile", lambda ids: (_ for _ in ()).throw(OperationalError("gone")))
        with pytest.raises(OperationalError):
            reconciler.step()
    assert str(job.pk) in {job_id for _, job_id in reconciler._later}
    rounds(reconciler)
    assert fresh(job).reason == "Submitted"


def test_it_runs_on_through_faults_and_stops_when_told(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Reconciler(cluster)  # type: ignore[arg-type]
    monkeypatch.setattr(one.view, "start", lambda: None)
    monkeypatch.setattr(one.view, "stop", lambda: None)
    monkeypatch.setattr(one._stop, "wait", lambda seconds=None: waits.append(seconds))
    waits: list[float | None] = []
    outcomes = [OperationalError("gone"), KeyError("a fault of ours"), True, OperationalError("gone"), False]

    def step() -> bool:
        outcome = outcomes.pop(0)
        if not outcomes:
            one.stop()
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    monkeypatch.setattr(one, "step", step)
    one.run()
    assert outcomes == [] and waits == [1.0, 2.0, 1.0]


def test_the_status_of_a_row_is_written_by_its_version(
    ours: Team, cluster: FakeCluster, reconciler: Reconciler
) -> None:
    """Somebody else changed the row between reading and writing: the write is void and the row is looked at again."""
    job = submit(ours)
    stale = fresh(job)
    TrainingJob.objects.filter(pk=job.pk).update(version=stale.version + 1)
    reconciler._write([Outcome(stale, {"status": "failed", "reason": "x"})], timezone.now(), owner=None)
    assert fresh(job).status == Status.PENDING and str(job.pk) in {job_id for _, job_id in reconciler._later}
    assert writeback.apply([], timezone.now(), None) == set()
