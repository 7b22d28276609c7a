"""The kept log of a job: copied from the cluster in pieces, read by byte offset, there when the pod is long gone.

``collect`` copies what is new since the last time; each piece is appended in a transaction that expects the size it knew, so
two collectors cannot write the same bytes twice, and a ``kill -9`` leaves whole pieces and the position behind them. Kept are the
first ``JOB_LOG_HEAD_BYTES`` and the last ``JOB_LOG_TAIL_BYTES``; offsets go on counting across the gap.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from jobs.models import ENDED, JobEvent, JobLog, JobLogChunk, Status, TrainingJob
from jobs.observed import CONTAINER, PodView, pod_view
from platform_portal import wakeup
from platform_portal.kube import logs as pod_logs
from platform_portal.kube.cluster import Cluster, Object
from platform_portal.kube.errors import ClusterError, NotFound, Refused

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
READ_SECONDS = 20.0
PIECE = 256 * 1024
FETCH, MAX_FETCH = 8, 200
BACKGROUND_INTERVAL = timedelta(seconds=20)
WATCHED_INTERVAL = timedelta(seconds=1)
WATCHED_FOR = timedelta(seconds=15)
MAX_RESPONSE = 4 * 1024 * 1024
MAX_TAIL_LINES = 10_000
MAX_FAILURES = 20


class LostRace(ClusterError):
    """Somebody else has appended to the log meanwhile; what was read here is theirs to append."""


@dataclass(frozen=True)
class LogPart:
    """Bytes from ``start`` to ``next_offset``; ``complete`` when nothing more can come."""

    data: bytes
    start: int
    next_offset: int
    complete: bool


def read(job: TrainingJob, *, offset: int = 0, limit: int = MAX_RESPONSE) -> LogPart:
    """The log from ``offset`` on, at most ``limit`` bytes; where the middle was left out it goes on behind the gap."""
    state = JobLog.objects.filter(job=job).first()
    size = state.size if state else 0
    pieces: list[bytes] = []
    start, at = offset, offset
    for place, data in _chunks(job, after=offset - PIECE):
        if place + len(data) <= at:
            continue
        if place >= size or (place > at and pieces):
            break
        if place > at:
            start = at = place
        piece = data[at - place :][: limit - (at - start)]
        pieces.append(piece)
        at += len(piece)
        if at - start >= limit:
            break
    complete = bool(state and state.complete) or (state is None and job.ended and not job.cluster_uid)
    return LogPart(b"".join(pieces), start, min(at, max(size, at)), complete and at >= size)


def tail(job: TrainingJob, lines: int) -> LogPart:
    """The last ``lines`` lines, at most ``MAX_RESPONSE`` bytes of them."""
    state = JobLog.objects.filter(job=job).first()
    size = state.size if state else 0
    found: list[bytes] = []
    missing, held = lines, 0
    start = size
    for place, data in _chunks_from_end(job, before=size):
        if place + len(data) != start or held + len(data) > MAX_RESPONSE:
            break
        # The line feed that ends the very last line opens no line of its own.
        body = data[:-1] if start == size and data.endswith(b"\n") else data
        breaks = body.count(b"\n")
        if breaks >= missing:
            cut = _nth_break_from_end(body, missing) + 1
            found.append(data[cut:])
            start = place + cut
            break
        missing -= breaks
        held += len(data)
        found.append(data)
        start = place
    complete = bool(state and state.complete) or (state is None and job.ended and not job.cluster_uid)
    return LogPart(b"".join(reversed(found)), start, size, complete)


def stream(job: TrainingJob) -> Iterator[bytes]:
    """The whole kept log, piece by piece, for a download."""
    for _, data in _chunks(job, after=-1):
        yield data


def watch(job: TrainingJob) -> None:
    """Says that somebody is looking at the log now, so that it is collected more often; costs one write a second at most."""
    if job.status == Status.PENDING and not job.cluster_uid:
        return
    now = timezone.now()
    fresh = Q(wanted_at__gt=now - WATCHED_INTERVAL)
    touched = JobLog.objects.filter(job=job, complete=False).exclude(fresh).update(wanted_at=now)
    if touched:
        wakeup.task("jobs.collect_log", str(job.pk))


def schedule(job_ids: list[UUID], now: datetime) -> None:
    """Asks for these jobs' logs to be collected: now, and again while they run. Called when a job starts and when it ends."""
    JobLog.objects.bulk_create(
        [JobLog(job_id=job_id, due_at=now) for job_id in job_ids],
        update_conflicts=True,
        unique_fields=["job"],
        update_fields=["due_at"],
    )
    for job_id in job_ids:
        wakeup.task("jobs.collect_log", str(job_id))


def due(now: datetime, most: int) -> list[UUID]:
    """Jobs whose logs are to be collected, the longest waiting first."""
    rows = JobLog.objects.filter(due_at__lte=now).exclude(lease_until__gt=now).order_by("due_at")
    return list(rows.values_list("job_id", flat=True)[:most])


def collect(job_id: UUID, cluster: Cluster, *, seconds: float = READ_SECONDS) -> None:
    """Copies what the job's containers have printed since the last time, for at most ``seconds`` a container.

    Does nothing when somebody else is at it.
    """
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    if not JobLog.objects.filter(free, job_id=job_id, complete=False).update(lease_until=now + LEASE):
        return
    job = TrainingJob.objects.select_related("tenant", "log").get(pk=job_id)
    fields: dict[str, object] = {}
    try:
        finished = _collect(job, cluster, seconds)
        fields = _after(job, finished, timezone.now())
    except ClusterError as exc:
        log.info("the log of job %s cannot be read now: %s", job_id, exc)
        failures = job.log.failures + 1
        gone = job.ended and failures >= MAX_FAILURES
        delay = min(2.0**failures, 300.0)
        fields = {"failures": failures, "complete": gone, "due_at": None if gone else now + timedelta(seconds=delay)}
    finally:
        JobLog.objects.filter(job_id=job_id).update(lease_until=None, **fields)


def _after(job: TrainingJob, finished: bool, now: datetime) -> dict[str, object]:
    """When to look again. A job that has ended since the read began is looked at once more before it counts as complete."""
    if finished and job.ended:
        return {"complete": True, "due_at": None, "failures": 0}
    state = JobLog.objects.values("wanted_at", "due_at").get(job_id=job.pk)
    watched = state["wanted_at"] is not None and state["wanted_at"] > now - WATCHED_FOR
    wait = WATCHED_INTERVAL if watched else BACKGROUND_INTERVAL
    ended_meanwhile = TrainingJob.objects.filter(pk=job.pk, status__in=ENDED).exists()
    return {"due_at": now if ended_meanwhile else now + wait, "failures": 0}


def _collect(job: TrainingJob, cluster: Cluster, seconds: float) -> bool:
    """Reads each container from where it was left; returns whether all of them have ended and been read to the end."""
    pods = cluster.list("Pod", job.namespace, job.pod_selector)
    views = {view.uid: view for obj in pods if (view := pod_view(obj)) is not None}
    places = [
        (views[obj["metadata"]["uid"]], status)
        for obj in sorted(pods, key=lambda obj: (obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]))
        for status in _statuses(obj)
    ]
    appender = _Appender(job.log)
    done = appender.pod
    behind = bool(done) and any(_place(view, status["name"]) == done for view, status in places)
    finished = True
    for view, status in places:
        place = _place(view, status["name"])
        if behind and place != done:
            continue
        behind = False
        finished = _read_container(cluster, view, status, place, appender, seconds) and finished
    return finished


def _read_container(
    cluster: Cluster, view: PodView, status: Object, place: str, appender: "_Appender", seconds: float
) -> bool:
    state = status.get("state") or {}
    if "waiting" in state and not status.get("lastState"):
        return view.ended
    appender.enter(place)
    began = timezone.now()
    try:
        for data, position in pod_logs.read(
            cluster, view.namespace, view.name, status["name"], appender.position, seconds=seconds
        ):
            appender.add(data, position)
    except (NotFound, Refused) as exc:
        # The container has no log (any more): nothing will come of asking again once the pod has ended.
        log.info("no log of %s: %s", place, exc)
    finally:
        appender.flush()
    read_to_end = (timezone.now() - began).total_seconds() < seconds
    return "terminated" in state and read_to_end


def _statuses(pod: Object) -> list[Object]:
    status = pod.get("status") or {}
    main = [item for item in status.get("containerStatuses") or [] if item["name"] == CONTAINER]
    return [*(status.get("initContainerStatuses") or []), *main]


def _place(view: PodView, container: str) -> str:
    return f"{view.name}/{container}"


class _Appender:
    """Gathers bytes to pieces and appends them, each with the position behind it, guarded by the size it expects."""

    def __init__(self, state: JobLog) -> None:
        self.job_id, self.size, self.pod = state.job_id, state.size, state.pod
        self.position = pod_logs.Position.from_json(state.position)
        self._buffer = bytearray()
        self._pending = self.position

    def enter(self, place: str) -> None:
        if place == self.pod:
            return
        if self.size and self.pod and self.pod.split("/")[0] != place.split("/")[0]:
            self._buffer += b"\n[the pod was replaced; here begins the log of the new one]\n"
        self.pod, self.position = place, pod_logs.Position()
        self._pending = self.position

    def add(self, data: bytes, position: pod_logs.Position) -> None:
        self._buffer += data
        self._pending = position
        if len(self._buffer) >= PIECE:
            self.flush()

    def flush(self) -> None:
        if not self._buffer:
            return
        data = bytes(self._buffer)
        self._buffer.clear()
        with transaction.atomic():
            moved = JobLog.objects.filter(job_id=self.job_id, size=self.size).update(
                size=F("size") + len(data),
                pod=self.pod,
                position=self._pending.as_json(),
                lease_until=timezone.now() + LEASE,
            )
            if not moved:
                raise LostRace(409, "LostRace", "another collector appends to this log")
            JobLogChunk.objects.bulk_create(
                [
                    JobLogChunk(job_id=self.job_id, offset=self.size + start, data=data[start : start + PIECE])
                    for start in range(0, len(data), PIECE)
                ]
            )
            self._forget_middle(self.size + len(data))
        self.size += len(data)
        self.position = self._pending

    def _forget_middle(self, size: int) -> None:
        keep_from = size - settings.JOB_LOG_TAIL_BYTES
        if keep_from <= settings.JOB_LOG_HEAD_BYTES:
            return
        gone, _ = JobLogChunk.objects.filter(
            job_id=self.job_id, offset__gte=settings.JOB_LOG_HEAD_BYTES, offset__lt=keep_from - PIECE
        ).delete()
        if gone:
            line = JobEvent(job_id=self.job_id, key="log-truncated", reason="LogTruncated", level="warning")
            JobEvent.objects.bulk_create([line], ignore_conflicts=True)


def _chunks(job: TrainingJob, *, after: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) behind ``after``, from the database a few megabytes at a time.

    Not by a cursor: outside a transaction PostgreSQL would copy the whole log aside before it gives the first piece.
    """
    count = FETCH
    while found := list(JobLogChunk.objects.filter(job=job, offset__gt=after).order_by("offset")[:count]):
        for chunk in found:
            yield chunk.offset, bytes(chunk.data)
        after, count = found[-1].offset, _next_count(found)


def _chunks_from_end(job: TrainingJob, *, before: int) -> Iterator[tuple[int, bytes]]:
    count = FETCH
    while found := list(JobLogChunk.objects.filter(job=job, offset__lt=before).order_by("-offset")[:count]):
        for chunk in found:
            yield chunk.offset, bytes(chunk.data)
        before, count = found[-1].offset, _next_count(found)


def _next_count(found: list[JobLogChunk]) -> int:
    """Many at once where a log that somebody watched has come in small pieces."""
    average = sum(len(chunk.data) for chunk in found) // len(found) or 1
    return max(FETCH, min(FETCH * PIECE // average, MAX_FETCH))


def _nth_break_from_end(data: bytes, count: int) -> int:
    at = len(data)
    for _ in range(count):
        at = data.rfind(b"\n", 0, at)
    return at
