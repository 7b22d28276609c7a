"""PURE: a training job's phases, and the decision what to do next.

``decide`` sees what is wanted (the row), what was observed (views of the cluster) and the time, and returns data: at most one
action at the cluster, the row's new fields, and lines for the timeline. It never asks anybody anything, so a table tests it.

    pending ──▶ running ──▶ succeeded | failed
       └───────────┴──────▶ cancelled

What it promises: a job that was asked to be cancelled ends cancelled, and only once its objects have been seen absent; an object
is taken for absent only when the server itself said so (``Seen.confirmed_absent``); an ended row never changes again.
"""

import enum
import re
import signal
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from jobs.observed import EventView, JobView, PodView

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "pending", "running", "succeeded", "failed", "cancelled"
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED})

IMAGE_FAILURES = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"}
CONFIG_FAILURES = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# A Job and its pods arrive by separate watches; this long the end waits for the pod's side of it.
SETTLE = timedelta(seconds=3)


class Action(enum.Enum):
    CREATE = "create"
    DELETE = "delete"
    CHECK = "check"


@dataclass(frozen=True)
class Row:
    """What the decision needs of a row."""

    status: str
    reason: str
    cancel_requested_at: datetime | None = None
    cancelled_by: str = ""
    cluster_uid: str = ""
    error_message: str = ""
    exit_code: int | None = None
    attempts: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    # It stands in the team's queue: nothing is made for it before the queue lets it go.
    waits: bool = False


@dataclass(frozen=True)
class Seen:
    """What the cluster showed. ``refused`` is the last event of a Job that could not make its pod.

    ``confirmed_absent`` and ``pods_confirmed``: the server itself said so just now, of the Job and of its pods.
    """

    job: JobView | None = None
    pods: tuple[PodView, ...] = ()
    refused: EventView | None = None
    confirmed_absent: bool = False
    pods_confirmed: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the timeline; ``key`` makes it stand there once."""

    key: str
    reason: str
    at: datetime
    message: str = ""
    level: str = "info"


@dataclass(frozen=True)
class Decision:
    """``fields`` are the row's changed fields; ``check_again_at`` asks to be called once more without a change."""

    action: Action | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    check_again_at: datetime | None = None
    uid: str = ""


def decide(row: Row, seen: Seen, now: datetime) -> Decision:
    """The next step for one job."""
    if row.status in ENDED:
        return _ended(row, seen)
    if row.cancel_requested_at is not None:
        return _cancelling(row, seen, now)
    if row.waits:
        return Decision()
    if seen.job is None:
        return _without_job(row, seen, now)
    # What has succeeded stays so, also when somebody tidies the Job away before its end was written down.
    if seen.job.deleting and not seen.job.complete:
        return _deleted_by_others(row, seen, now)
    if seen.job.finished:
        return _finished(row, seen.job, seen, now)
    return _active(row, seen, now)


def _ended(row: Row, seen: Seen) -> Decision:
    """An ended row is final. A Job of a cancelled row that a slow create brought to life after all is taken away."""
    job = seen.job
    if row.status == CANCELLED and job is not None and not job.deleting and not job.finished:
        return Decision(Action.DELETE, uid=job.uid)
    return Decision()


def _cancelling(row: Row, seen: Seen, now: datetime) -> Decision:
    if seen.job is not None:
        started = row.started_at or _first_start(seen.pods)
        fields, lines = _changed(row, reason="Cancelling", started_at=started), _started_line(row, started)
        if seen.job.deleting:
            return Decision(fields=fields, lines=lines, check_again_at=now + timedelta(seconds=5))
        return Decision(Action.DELETE, fields, lines, uid=seen.job.uid)
    if not seen.confirmed_absent:
        return Decision(Action.CHECK)
    line = Line("ended", "CancelledByUser", now, f"by {row.cancelled_by}" if row.cancelled_by else "")
    return Decision(
        fields=_changed(row, status=CANCELLED, reason="CancelledByUser", completed_at=now, error_message=""),
        lines=(line,),
    )


def _without_job(row: Row, seen: Seen, now: datetime) -> Decision:
    if not row.cluster_uid:
        return Decision(Action.CREATE)
    if not seen.confirmed_absent:
        return Decision(Action.CHECK)
    return _gone(row, now)


def _deleted_by_others(row: Row, seen: Seen, now: datetime) -> Decision:
    """Somebody deletes the Job by hand. It is over when it has been seen absent, not before."""
    return Decision(fields=_adopt(row, seen), check_again_at=now + timedelta(seconds=5))


def _gone(row: Row, now: datetime) -> Decision:
    fields = _changed(row, status=FAILED, reason="DeletedInCluster", completed_at=now)
    return Decision(fields=fields, lines=(Line("ended", "DeletedInCluster", now, level="error"),))


def _finished(row: Row, job: JobView, seen: Seen, now: datetime) -> Decision:
    end = job.finished_at or now
    last = max(seen.pods, key=lambda pod: (pod.created_at, pod.name), default=None)
    if (last is None or not last.ended) and not seen.pods_confirmed:
        # The pod tells when it ran and why it failed; a watch that is late must not cost that.
        if end <= now < end + SETTLE:
            return Decision(check_again_at=end + SETTLE)
        return Decision(Action.CHECK)
    started = row.started_at or (last.started_at if last else None)
    finished = (last.finished_at if last else None) or end
    common = {"started_at": started, "completed_at": finished, "cluster_uid": job.uid, "attempts": max(row.attempts, 1)}
    if job.complete:
        lines = (*_started_line(row, started), Line("ended", "Completed", finished))
        return Decision(
            fields=_changed(row, status=SUCCEEDED, reason="Completed", exit_code=0, error_message="", **common),
            lines=lines,
        )
    reason, message, code = explain_failure(job, last)
    lines = (*_started_line(row, started), Line("ended", reason, finished, message, "error"))
    return Decision(
        fields=_changed(row, status=FAILED, reason=reason, exit_code=code, error_message=message, **common), lines=lines
    )


def _active(row: Row, seen: Seen, now: datetime) -> Decision:
    assert seen.job is not None
    fields = _adopt(row, seen)
    last = max(seen.pods, key=lambda pod: (pod.created_at, pod.name), default=None)
    started = row.started_at or _first_start(seen.pods)
    if last is not None and last.started_at is not None and not last.ended:
        fields |= _changed(row, status=RUNNING, reason="Running", started_at=started, error_message="")
        return Decision(fields=fields, lines=_started_line(row, started))
    reason, message = _why_waiting(seen.job, last, seen.refused)
    # Once it has run it stays running in name: a pod that is being replaced is a pause, not a new beginning.
    status = RUNNING if row.status == RUNNING else PENDING
    fields |= _changed(row, status=status, reason=reason, error_message=message, started_at=started)
    return Decision(fields=fields, lines=_started_line(row, started))


def _adopt(row: Row, seen: Seen) -> dict[str, Any]:
    """A Job that stands there is ours, also when the process that made it did not live to write so."""
    assert seen.job is not None
    return _changed(row, cluster_uid=seen.job.uid, attempts=max(row.attempts, 1))


def _why_waiting(job: JobView, pod: PodView | None, refused: EventView | None) -> tuple[str, str]:
    if job.suspended:
        return "Suspended", ""
    if pod is None or pod.ended:
        # A refusal from before the pod came to be has been got over.
        if refused is None or (pod is not None and refused.at <= pod.created_at):
            if pod is not None and pod.disruption:
                return "Restarting", ""
            return ("Finishing" if pod is not None else "Submitted"), ""
        over_quota = "exceeded quota" in refused.message
        return ("QuotaExceeded" if over_quota else "PodRefused"), refused.message
    if pod.unschedulable:
        return ("NoSuchMachine" if _fits_no_kind(pod.unschedulable) else "Unschedulable"), pod.unschedulable
    if pod.waiting in IMAGE_FAILURES:
        return "ImagePullFailed", pod.message
    if pod.waiting == "InvalidImageName":
        return "InvalidImage", pod.message
    if pod.waiting in CONFIG_FAILURES:
        return "ContainerConfigError", pod.message
    if not pod.node:
        return "Submitted", ""
    if pod.step and pod.step != "training":
        return "FetchingSource", ""
    return "Starting", ""


def _fits_no_kind(message: str) -> bool:
    """Whether every machine is of another kind than the job asks for, rather than full, by the scheduler's message.

    It reads "0/3 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 1 Insufficient cpu. …".
    """
    counted = re.match(r"0/(\d+) nodes are available: (.*?)(?:\. |\.?$)", message)
    if counted is None:
        return False
    others = re.findall(r"(\d+) node\(s\) didn't match Pod's node affinity", counted[2])
    return sum(map(int, others)) == int(counted[1]) > 0


def explain_failure(job: JobView, pod: PodView | None) -> tuple[str, str, int | None]:
    """(reason, message, exit code) of a failed Job, from the pod where it tells more than the Job does."""
    if job.failed == "DeadlineExceeded":
        return "DeadlineExceeded", job.message, None
    if pod is None:
        return "Failed", job.message, None
    by_pod = {"Evicted": "Evicted", "NodeLost": "NodeLost", "NodeShutdown": "NodeLost", "Terminated": "NodeLost"}
    if pod.disruption == "PreemptionByScheduler":
        return "Preempted", pod.message, pod.exit_code
    if pod.reason in by_pod and pod.terminated != "OOMKilled":
        return by_pod[pod.reason], pod.message, pod.exit_code
    code = pod.exit_code
    if pod.terminated == "OOMKilled":
        # The end of the log is what the program happened to print last; it says nothing about its memory.
        return "OutOfMemory", "The program used more memory than its limit.", code
    if pod.step and pod.step != "training":
        return "SourceFetchFailed", pod.message, code
    if pod.terminated in ("ContainerCannotRun", "StartError") or code in (126, 127):
        return "CommandNotFound", pod.message, code
    # Beyond the signals a shell reports as 128 + n lie exit codes that programs choose, 255 first of all.
    if code is not None and (128 < code <= 128 + signal.NSIG - 1 or pod.signal):
        number = pod.signal or code - 128
        return "Killed", pod.message or f"The program was ended by {_signal_name(number)}.", code
    if code:
        return "UserCodeError", pod.message or f"The program ended with exit code {code}.", code
    return "Failed", pod.message or job.message, code


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _started_line(row: Row, started: datetime | None) -> tuple[Line, ...]:
    return (Line("started", "Running", started),) if started is not None and row.started_at is None else ()


def _first_start(pods: tuple[PodView, ...]) -> datetime | None:
    return min((pod.started_at for pod in pods if pod.started_at), default=None)


def _changed(row: Row, **wanted: Any) -> dict[str, Any]:
    """Those of ``wanted`` that differ from the row."""
    return {name: value for name, value in wanted.items() if getattr(row, name) != value}


def created(row: Row, job: JobView, now: datetime) -> Decision:
    """What a create that came through means for the row."""
    fields = _changed(row, cluster_uid=job.uid, attempts=max(row.attempts, 1), error_message="")
    if row.status == PENDING and row.cancel_requested_at is None:
        fields |= _changed(row, reason="Submitted")
    # Cut to the second as Kubernetes' times are, or what it says of the same second would stand before it.
    return Decision(fields=fields, lines=(Line("created", "CreatedInCluster", now.replace(microsecond=0), job.name),))


def refused_by_cluster(row: Row, code: int, message: str, now: datetime) -> Decision:
    """The cluster's 4xx to a create. 403 may be mended by an administrator or a free quota; the others never pass."""
    if code == 403:
        reason = "QuotaExceeded" if "exceeded quota" in message else "ClusterRefused"
        return Decision(fields=_changed(row, reason=reason, error_message=message))
    reason = "NameConflict" if code == 409 else "RejectedByCluster"
    fields = _changed(row, status=FAILED, reason=reason, error_message=message, completed_at=now)
    return Decision(fields=fields, lines=(Line("ended", reason, now, message, "error"),))


def merge(row: Row, decision: Decision) -> Row:
    """The row as it stands after the decision's fields."""
    return replace(row, **decision.fields) if decision.fields else row
