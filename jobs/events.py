"""Kubernetes' own events in a job's timeline: gathered as they come, written in bulk, each once however often it is told."""

import threading
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError

from jobs.models import JobEvent, TrainingJob
from jobs.observed import EventView
from platform_portal import names

BATCH = 500


class EventWriter:
    """``add`` from any thread, ``flush`` from the one that has the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[str, EventView]] = {}

    def add(self, job_id: str, event: EventView) -> None:
        with self._lock:
            self._waiting[event.uid] = (job_id, event)

    def flush(self) -> int:
        """Writes what has gathered; returns how many lines. An event of a job that is no row is dropped."""
        with self._lock:
            taken = [self._waiting.pop(uid) for uid in list(self._waiting)[:BATCH]]
        try:
            self._write(taken)
        except IntegrityError:
            # A job was deleted between the two statements; the next time its events are left out.
            self._put_back(taken)
            return 0
        except (OperationalError, InterfaceError):
            self._put_back(taken)
            raise
        return len(taken)

    def _put_back(self, taken: list[tuple[str, EventView]]) -> None:
        """For the next flush, unless something newer has been told about the same event."""
        with self._lock:
            self._waiting = {event.uid: (job_id, event) for job_id, event in taken} | self._waiting

    def _write(self, taken: list[tuple[str, EventView]]) -> None:
        if not taken:
            return
        rows = TrainingJob.objects.filter(pk__in={UUID(job_id) for job_id, _ in taken})
        known = {
            str(pk): (at, names.namespace(slug))
            for pk, at, slug in rows.values_list("pk", "created_at", "tenant__slug")
        }
        lines = [
            _line(UUID(job_id), event, known[job_id][0])
            for job_id, event in taken
            # Only the job's own namespace speaks for it.
            if job_id in known and event.namespace == known[job_id][1]
        ]
        JobEvent.objects.bulk_create(
            lines,
            update_conflicts=True,
            unique_fields=["job", "key"],
            update_fields=["at", "message", "count"],
        )


def _line(job_id: UUID, event: EventView, submitted: datetime) -> JobEvent:
    return JobEvent(
        job_id=job_id,
        key=f"k8s-{event.uid}"[:100],
        source=JobEvent.Source.KUBERNETES,
        level="warning" if event.type == "Warning" else "info",
        reason=event.reason,
        message=event.message,
        count=min(event.count, 2**31 - 1),
        # Kubernetes cuts times to the second, which would put its first lines before the submission.
        at=max(event.at, submitted),
    )
