"""Writes a new job with everything that comes with it: the first line of its timeline, the tally, the audit log's entry.

A submission is the one write that users wait for, so the usual one is a single statement that decides on quota as well: one
round trip, one commit. It locks the team's row of usage. What it compares is a parameter or stands in that row, because after
waiting for a lock PostgreSQL reads only the locked row anew. Names meet at their unique constraint; the tally is sharded by
connection.

The lock ends with the commit, and a commit waits for the disk: a team's submissions would wait for it one after the other. So
this one commits without waiting, and a second statement waits, for as many as came meanwhile at once. Until then nobody has been
answered, and whoever acts on the row commits after it: where theirs is on disk, this is too.
"""

import enum
from collections.abc import Mapping
from typing import Any

from django.db import connection, models

from jobs.models import JobEvent, SubmissionTally, TrainingJob
from tenants.models import AuditEntry, QuotaUsage
from tenants.quotas import Room

SHARDS = 64
FIELDS = list(TrainingJob._meta.concrete_fields)
EVENT_COLUMNS = ("key", "at", "source", "level", "reason", "message", "count")
AUDIT_FIELDS = [field for field in AuditEntry._meta.concrete_fields if not field.primary_key]


class Inserted(enum.Enum):
    YES = "yes"
    NAME_TAKEN = "name taken"
    # The quota is not as it was known to be, does not fit, or somebody waits: that needs more than one look.
    UNDECIDED = "undecided"


def job_insert(job: TrainingJob, room: Room, version: int, audit: Mapping[str, Any]) -> Inserted:
    """Inserts the job if the team's usage leaves ``room``, nobody waits, and the tenant is still at ``version``."""
    guard = [job.tenant_id, version, room.cpu, room.memory_gb, room.gpus, room.jobs, room.pods, job.gpu_type]
    # Inside a transaction of the caller's, its commit is the one to wait for.
    statement = _DECIDING if connection.in_atomic_block else _DECIDING_UNFLUSHED
    decided, inserted = _execute(statement, [*guard, room.gpus_of_type], job, audit)
    if not decided:
        return Inserted.UNDECIDED
    if not inserted:
        return Inserted.NAME_TAKEN
    if statement is _DECIDING_UNFLUSHED:
        _flush()
    return Inserted.YES


def job_insert_decided(job: TrainingJob, audit: Mapping[str, Any]) -> Inserted:
    """Inserts the job as it is; who calls this holds the lock on the team's usage and has decided."""
    _, inserted = _execute(_DECIDED, [], job, audit)
    return Inserted.YES if inserted else Inserted.NAME_TAKEN


def _execute(statement: str, guard: list[Any], job: TrainingJob, audit: Mapping[str, Any]) -> tuple[int, int]:
    message = f"submitted by {job.submitted_by}"
    line: list[Any] = ["submitted", job.created_at, JobEvent.Source.PLATFORM.value, "info", job.reason, message, 1]
    entry = {**audit, "at": job.created_at}
    logged = [_stored(field, entry[field.attname]) for field in AUDIT_FIELDS]
    with connection.cursor() as cursor:
        cursor.execute(
            statement, [*guard, *(_stored(field, getattr(job, field.attname)) for field in FIELDS), *line, *logged]
        )
        decided, inserted = cursor.fetchone()
    return decided, inserted


def _flush() -> None:
    """Returns once all that was committed before is on disk: the smallest thing whose own commit waits for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'ml_platform', '')")


def _stored(field: "models.Field[Any, Any]", value: Any) -> Any:
    return field.get_db_prep_save(value, connection)


def _statement(guard: str) -> str:
    event, tally = JobEvent._meta.db_table, SubmissionTally._meta.db_table
    return (
        f"WITH usage AS MATERIALIZED ({guard}),"
        f" job AS (INSERT INTO {TrainingJob._meta.db_table} ({_columns(FIELDS)}) SELECT {_places(FIELDS)} FROM usage"
        " ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id, tenant_id),"
        f" line AS (INSERT INTO {event} (job_id, {', '.join(EVENT_COLUMNS)})"
        " SELECT id, %s, %s::timestamptz, %s, %s, %s, %s, %s::int FROM job),"
        f" tally AS (INSERT INTO {tally} AS old (tenant_id, shard, count)"
        f" SELECT tenant_id, pg_backend_pid() %% {SHARDS}, 1 FROM job"
        " ON CONFLICT (tenant_id, shard) DO UPDATE SET count = old.count + 1),"
        f" audit AS (INSERT INTO {AuditEntry._meta.db_table} ({_columns(AUDIT_FIELDS)})"
        f" SELECT {_places(AUDIT_FIELDS)} FROM job)"
        " SELECT (SELECT count(*) FROM usage), (SELECT count(*) FROM job)"
    )


def _columns(fields: "list[models.Field[Any, Any]]") -> str:
    return ", ".join(f'"{field.column}"' for field in fields)


def _places(fields: "list[models.Field[Any, Any]]") -> str:
    return ", ".join("%s" for _ in fields)


_ROOM = (
    f"tenant_id FROM {QuotaUsage._meta.db_table}"
    " WHERE tenant_id = %s AND tenant_version = %s AND waiting = 0"
    " AND cpu <= %s AND memory_gb <= %s AND gpus <= %s AND jobs <= %s AND pods <= %s"
    " AND coalesce((gpu_types ->> %s)::int, 0) <= %s FOR UPDATE"
)
_DECIDING = _statement(f"SELECT {_ROOM}")
# For this transaction only, which is this statement.
_DECIDING_UNFLUSHED = _statement(f"SELECT set_config('synchronous_commit', 'off', true), {_ROOM}")
_DECIDED = _statement("SELECT 1")
