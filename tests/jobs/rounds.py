"""Rounds of a reconciler over a ``FakeCluster``, and what the tests ask of rows."""

from typing import Any

from django.utils import timezone

from jobs.models import JobEvent, TrainingJob
from jobs.reconciler import Reconciler
from jobs.services import job_submit
from tests.personas import Team


def look(reconciler: Reconciler) -> None:
    """The watches catch up with the cluster."""
    for informer in reconciler.view.informers:
        informer._relist()


def rounds(reconciler: Reconciler, count: int = 3) -> None:
    """Looks and works; what was put off comes now, what is due by the row's own time comes when it is due."""
    for _ in range(count):
        look(reconciler)
        with reconciler._lock:
            reconciler._dirty |= {job_id for _, job_id in reconciler._later}
            reconciler._later.clear()
        reconciler.sweep_now()
        reconciler.step()


def submit(ours: Team, name: str = "a", **fields: Any) -> TrainingJob:
    return job_submit(ctx=ours.ctx, payload={"name": name} | fields)


def due_now(job: TrainingJob) -> None:
    TrainingJob.objects.filter(pk=job.pk).update(next_check_at=timezone.now())


def fresh(job: TrainingJob) -> TrainingJob:
    return TrainingJob.objects.get(pk=job.pk)


def failing(error: Exception, verb: str, times: int = 10**6, kind: str = "Job") -> Any:
    left = [times]

    def trouble(called: str, of_kind: str, name: str) -> None:
        if called == verb and of_kind == kind and left[0]:
            left[0] -= 1
            raise error

    return trouble


def told(job: TrainingJob) -> list[str]:
    return list(JobEvent.objects.filter(job=job).order_by("at", "id").values_list("reason", flat=True))
