"""Writes a new job with everything that comes with it: the first line of its timeline, the tally, the audit log's entry.

A submission is the one write that users wait for, so the usual one is a single call of a function in the database
(``job_submit``, migration 0003) that decides on quota as well: one round trip, one commit, and plans that are kept. It locks the
team's row of usage. What it compares is a parameter or stands in that row, because after waiting for a lock PostgreSQL reads only
the locked row anew. Names meet at their unique constraint; the tally is sharded by connection.

The lock ends with the commit, and a commit waits for the disk: a team's submissions would wait for it one after the other. So
this one commits without waiting, and a second statement waits, for as many as came meanwhile at once. Until then nobody has been
answered, and whoever acts on the row commits after it: where theirs is on disk, this is too.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
from django.db import connection

from jobs.models import JobEvent, TrainingJob
from tenants.quotas import Room

SHARDS = 64
COLUMNS = [(str(field.column), field.attname) for field in TrainingJob._meta.concrete_fields]


class Inserted(enum.Enum):
    YES = "yes"
    NAME_TAKEN = "name taken"
    # The quota is not as it was known to be, does not fit, or somebody waits: that needs more than one look.
    UNDECIDED = "undecided"


def job_insert(job: TrainingJob, room: Room, version: int, audit: Mapping[str, Any]) -> Inserted:
    """Inserts the job if the team's usage leaves ``room``, nobody waits, and the tenant is still at ``version``."""
    # Inside a transaction of the caller's, its commit is the one to wait for.
    unflushed = not connection.in_atomic_block
    inserted = _submit(job, audit, asdict(room) | {"version": version}, unflushed=unflushed)
    if unflushed and inserted is Inserted.YES:
        _flush()
    return inserted


def job_insert_decided(job: TrainingJob, audit: Mapping[str, Any]) -> Inserted:
    """Inserts the job as it is; who calls this holds the lock on the team's usage and has decided."""
    return _submit(job, audit, None, unflushed=False)


def _submit(job: TrainingJob, audit: Mapping[str, Any], room: Mapping[str, Any] | None, *, unflushed: bool) -> Inserted:
    row = {column: getattr(job, attname) for column, attname in COLUMNS}
    line = {
        "key": "submitted",
        "at": job.created_at,
        "source": JobEvent.Source.PLATFORM.value,
        "level": "info",
        "reason": job.reason,
        "message": f"submitted by {job.submitted_by}",
        "count": 1,
    }
    entry = {**audit, "at": job.created_at}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT job_submit(%s, %s, %s, %s, %s, %s)",
            [_json(row), _json(line), _json(entry), _json(room) if room else None, SHARDS, unflushed],
        )
        return Inserted(cursor.fetchone()[0])


def _flush() -> None:
    """Returns once all that was committed before is on disk: the smallest thing whose own commit waits for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'ml_platform', '')")


def _json(row: Mapping[str, Any]) -> str:
    # Decimals as text: JSON's own numbers would round them.
    try:
        return orjson.dumps(row, default=str).decode()
    except TypeError:
        # A whole number beyond 64 bits, which only the slower encoder writes.
        return json.dumps(row, default=str)
