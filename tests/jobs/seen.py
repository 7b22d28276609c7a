"""Rows and views of the cluster for the tests of decisions: what is not said is as it usually is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.lifecycle import Row
from jobs.observed import EventView, JobView, PodView

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
LONG_AGO = NOW - timedelta(hours=1)
ID = "3f2c8a8e-0d7c-4f2b-9f0e-6d8a4d3b2c11"

QUEUED = Row("pending", "Queued")
SUBMITTED = Row("pending", "Submitted", cluster_uid="job-1", attempts=1)
RUNNING = Row("running", "Running", cluster_uid="job-1", attempts=1, started_at=EARLIER)


def cancelled(row: Row) -> Row:
    return replace(row, reason="Cancelling", cancel_requested_at=EARLIER, cancelled_by="ada")


def job(**changes: Any) -> JobView:
    return JobView(**({"uid": "job-1", "name": "a-3f2c8a8e", "namespace": "ml-ours", "job_id": ID} | changes))


def pod(**changes: Any) -> PodView:
    base: dict[str, Any] = {
        "uid": "pod-1",
        "name": "a-3f2c8a8e-x",
        "namespace": "ml-ours",
        "job_id": ID,
        "created_at": LONG_AGO,
    }
    return PodView(**(base | {"phase": "Pending", "step": "training"} | changes))


def running_pod(**changes: Any) -> PodView:
    return pod(**({"phase": "Running", "node": "n", "started_at": EARLIER} | changes))


def ended_pod(code: int, **changes: Any) -> PodView:
    phase = "Failed" if code else "Succeeded"
    ended = {"phase": phase, "exit_code": code, "terminated": "Error" if code else "Completed", "finished_at": NOW}
    return running_pod(**(ended | changes))


def refusal(message: str, at: datetime = NOW) -> EventView:
    return EventView("e", "ml-ours", "Job", "a", "job-1", "Warning", "FailedCreate", message, at, 1)


COMPLETE = job(complete=True, finished_at=NOW)
FAILED = job(failed="BackoffLimitExceeded", message="Job has reached the limit", finished_at=NOW)
OVER_QUOTA = 'pods "a" is forbidden: exceeded quota: ours-quota'
