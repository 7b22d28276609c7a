"""One-line wrappers that Celery runs; the work is in the modules they call."""

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from jobs import cleanup, logs
from platform_portal.kube import cluster


@shared_task(name="jobs.collect_log")
def collect_log(job_id: str) -> None:
    logs.collect(UUID(job_id), cluster.default())


@shared_task(name="jobs.collect_due_logs")
def collect_due_logs() -> None:
    for job_id in logs.due(timezone.now(), most=50):
        logs.collect(job_id, cluster.default())


@shared_task(name="jobs.clean_up")
def clean_up() -> None:
    cleanup.run()
