"""Writes what was observed back to many rows in one statement, each guarded by the version or the lease it expects.

A row whose version has moved on, or whose lease another process holds, is left alone: zero rows means that somebody else won.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from jobs import logs
from jobs.durations import durations_add
from jobs.lifecycle import ENDED, RUNNING, Line
from jobs.models import JobEvent, TrainingJob

COLUMNS: dict[str, str] = {
    "status": "text",
    "reason": "text",
    "error_message": "text",
    "exit_code": "int",
    "attempts": "int",
    "cluster_uid": "text",
    "started_at": "timestamptz",
    "completed_at": "timestamptz",
    "observed_at": "timestamptz",
    "next_check_at": "timestamptz",
    "failures": "int",
}


# What stays as it is when a cancel came in while the row was leased.
STATE = frozenset({"status", "reason", "error_message", "exit_code", "started_at", "completed_at"})


@dataclass
class Outcome:
    """What one round made of a row: its new fields (others stay), and its lines for the timeline."""

    job: TrainingJob
    fields: dict[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()


def claim(jobs: Sequence[TrainingJob], owner: UUID, now: datetime, until: datetime, names: Sequence[str]) -> set[UUID]:
    """Takes the lease of those rows that nobody holds and nobody has changed; returns their ids.

    ``names`` are the Kubernetes names, written before the first call to the cluster: a row that has one may stand there.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_trainingjob AS job SET lease_owner = %s, lease_until = %s, next_check_at = %s,"
            " kubernetes_job_name = given.name, version = job.version + 1"
            " FROM unnest(%s::uuid[], %s::int[], %s::text[]) AS given(id, version, name)"
            " WHERE job.id = given.id AND job.version = given.version"
            " AND (job.lease_until IS NULL OR job.lease_until < %s) RETURNING job.id, job.version",
            [owner, until, until, [job.pk for job in jobs], [job.version for job in jobs], list(names), now],
        )
        won = dict(cursor.fetchall())
    for job in jobs:
        job.version = won.get(job.pk, job.version)
    return set(won)


def apply(outcomes: Sequence[Outcome], now: datetime, owner: UUID | None) -> set[UUID]:
    """Writes the outcomes and releases the leases; returns the ids that were written.

    Without ``owner`` a row must be as it was read and nobody may hold it. With ``owner`` it must still be leased to it; if a
    cancel came in meanwhile, what is true of the cluster is kept but the row's state is left to the next round, so that
    the wish is not lost. Ends add to the histogram and starts and ends ask for the log, in the same transaction, so that a
    crash loses neither.
    """
    if not outcomes:
        return set()
    columns = ", ".join(f"{name} = {_new_value(name)}" for name in COLUMNS)
    arrays = ", ".join(f"%s::{kind}[]" for kind in COLUMNS.values())
    guard = (
        "job.lease_owner = %s"
        if owner
        else "job.version = given.version AND (job.lease_until IS NULL OR job.lease_until < %s)"
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE jobs_trainingjob AS job SET {columns}, version = job.version + 1,"
            " lease_owner = NULL, lease_until = NULL"
            f" FROM unnest(%s::uuid[], %s::int[], {arrays}) AS given(id, version, {', '.join(COLUMNS)})"
            f" WHERE job.id = given.id AND {guard} RETURNING job.id, job.version = given.version + 1",
            [
                [outcome.job.pk for outcome in outcomes],
                [outcome.job.version for outcome in outcomes],
                *([_value(outcome, name) for outcome in outcomes] for name in COLUMNS),
                owner or now,
            ],
        )
        written = dict(cursor.fetchall())
        won = [outcome for outcome in outcomes if written.get(outcome.job.pk)]
        _tell(won)
        ended = [outcome for outcome in won if outcome.fields.get("status") in ENDED]
        durations_add([(o.job.tenant_id, o.fields["status"], _seconds(o)) for o in ended])
        begun = [outcome for outcome in won if outcome.fields.get("status") == RUNNING]
        with_log = [o.job.pk for o in [*ended, *begun] if o.job.cluster_uid or o.fields.get("cluster_uid")]
        if with_log:
            logs.schedule(sorted(set(with_log)), now)
    return set(written)


def _tell(outcomes: Iterable[Outcome]) -> None:
    lines = [
        JobEvent(
            job_id=o.job.pk,
            key=line.key,
            reason=line.reason,
            # Kubernetes cuts times to the second, which would put its first lines before the submission.
            at=max(line.at, o.job.created_at),
            message=line.message,
            level=line.level,
        )
        for o in outcomes
        for line in o.lines
    ]
    if lines:
        JobEvent.objects.bulk_create(lines, ignore_conflicts=True)


def _new_value(name: str) -> str:
    if name in STATE:
        return f"CASE WHEN job.version = given.version THEN given.{name} ELSE job.{name} END"
    if name == "next_check_at":
        return "CASE WHEN job.version = given.version THEN given.next_check_at ELSE now() END"
    return f"given.{name}"


def _value(outcome: Outcome, name: str) -> Any:
    return outcome.fields.get(name, getattr(outcome.job, name))


def _seconds(outcome: Outcome) -> float:
    """How long an ended job ran; 0 for one that never started."""
    started, completed = _value(outcome, "started_at"), _value(outcome, "completed_at")
    return max(0.0, (completed - started).total_seconds()) if started and completed else 0.0
