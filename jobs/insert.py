"""Writes a new job, the first line of its timeline and the tally in one statement: one round trip, one commit.

A submission is the one write that users wait for. The statement takes no lock that another submission could wait for: the
tally is sharded by connection, and names meet at their unique constraint.
"""

from typing import Any

from django.db import connection

from jobs.models import JobEvent, SubmissionTally, TrainingJob

SHARDS = 64
FIELDS = list(TrainingJob._meta.concrete_fields)
EVENT_COLUMNS = ("key", "at", "source", "level", "reason", "message", "count")


def job_insert(job: TrainingJob) -> bool:
    """Inserts the job; ``False``, and nothing written, when the tenant has one of that name."""
    values: list[Any] = [field.get_db_prep_save(getattr(job, field.attname), connection) for field in FIELDS]
    message = f"submitted by {job.submitted_by}"
    line: list[Any] = ["submitted", job.created_at, JobEvent.Source.PLATFORM.value, "info", job.reason, message, 1]
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, [*values, *line])
        return cursor.fetchone() is not None


def _statement() -> str:
    columns = ", ".join(f'"{field.column}"' for field in FIELDS)
    places = ", ".join("%s" for _ in FIELDS)
    event, tally = JobEvent._meta.db_table, SubmissionTally._meta.db_table
    return (
        f"WITH job AS (INSERT INTO {TrainingJob._meta.db_table} ({columns}) VALUES ({places})"
        " ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id, tenant_id),"
        f" line AS (INSERT INTO {event} (job_id, {', '.join(EVENT_COLUMNS)})"
        " SELECT id, %s, %s::timestamptz, %s, %s, %s, %s, %s::int FROM job),"
        f" tally AS (INSERT INTO {tally} AS old (tenant_id, shard, count)"
        f" SELECT tenant_id, pg_backend_pid() %% {SHARDS}, 1 FROM job"
        " ON CONFLICT (tenant_id, shard) DO UPDATE SET count = old.count + 1)"
        " SELECT id FROM job"
    )


_STATEMENT = _statement()
