"""PURE: what is kept of the cluster's objects: small, comparable views of a Job, a Pod and an Event.

Two equal views mean that nothing of interest has changed, so a heartbeat of the cluster costs no work. Times are as Kubernetes
gives them: whole seconds, UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from platform_portal.names import JOB_ID_LABEL

Object = dict[str, Any]
MAX_MESSAGE = 4000
CONTAINER = "training"
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JobView:
    uid: str
    name: str
    namespace: str
    job_id: str
    deleting: bool = False
    suspended: bool = False
    complete: bool = False
    failed: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def finished(self) -> bool:
        return self.complete or bool(self.failed)


@dataclass(frozen=True, slots=True)
class PodView:
    """``step`` is the container that the pod is at: an init container's name, or ``training``."""

    uid: str
    name: str
    namespace: str
    job_id: str
    created_at: datetime
    phase: str
    node: str = ""
    reason: str = ""
    disruption: str = ""
    unschedulable: str = ""
    step: str = ""
    waiting: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    terminated: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class EventView:
    uid: str
    namespace: str
    kind: str
    object_name: str
    object_uid: str
    type: str
    reason: str
    message: str
    at: datetime
    count: int


def job_view(obj: Object) -> JobView | None:
    """``None`` for a Job that is not a training job of the platform."""
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    job_id = _job_id(meta)
    if job_id is None:
        return None
    conditions = {item["type"]: item for item in status.get("conditions") or [] if item.get("status") == "True"}
    failed = conditions.get("Failed", {})
    end = conditions.get("Complete") or failed or {}
    return JobView(
        uid=meta["uid"],
        name=meta["name"],
        namespace=meta["namespace"],
        job_id=job_id,
        deleting="deletionTimestamp" in meta,
        suspended=bool(spec.get("suspend")),
        complete="Complete" in conditions,
        failed=(failed.get("reason") or "Failed") if failed else "",
        message=text(failed.get("message")),
        started_at=moment(status.get("startTime")),
        finished_at=moment(status.get("completionTime") or end.get("lastTransitionTime")),
    )


def pod_view(obj: Object) -> PodView | None:
    """``None`` for a pod that is of no training job."""
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    job_id = _job_id(meta)
    if job_id is None:
        return None
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    scheduled, disruption = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    step, state = _current_step(status)
    main = _main(status)
    running, ended = main.get("running") or {}, main.get("terminated") or {}
    stopped = state.get("terminated") or {}
    waiting = state.get("waiting") or {}
    return PodView(
        uid=meta["uid"],
        name=meta["name"],
        namespace=meta["namespace"],
        job_id=job_id,
        created_at=moment(meta["creationTimestamp"]) or NEVER,
        phase=status.get("phase", "Pending"),
        node=spec.get("nodeName") or "",
        reason=status.get("reason") or "",
        disruption=(disruption.get("reason") or "") if disruption.get("status") == "True" else "",
        unschedulable=text(scheduled.get("message") or "No node fits.") if unschedulable else "",
        step=step,
        waiting=waiting.get("reason") or "",
        message=text(stopped.get("message") or waiting.get("message") or status.get("message")),
        started_at=moment(running.get("startedAt") or ended.get("startedAt")),
        finished_at=moment(stopped.get("finishedAt")),
        exit_code=stopped.get("exitCode"),
        signal=stopped.get("signal"),
        terminated=stopped.get("reason") or "",
    )


def event_view(obj: Object) -> EventView | None:
    """``None`` for an event outside the platform's namespaces, or about other things than Jobs and Pods."""
    about = obj.get("involvedObject") or {}
    if not about.get("namespace", "").startswith("ml-") or about.get("kind") not in ("Job", "Pod"):
        return None
    series = obj.get("series") or {}
    at = (
        series.get("lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("eventTime")
        or obj["metadata"].get("creationTimestamp")
    )
    return EventView(
        uid=obj["metadata"]["uid"],
        namespace=about["namespace"],
        kind=about["kind"],
        object_name=about.get("name", ""),
        object_uid=about.get("uid", ""),
        type=obj.get("type") or "Normal",
        reason=(obj.get("reason") or "Event")[:100],
        message=text(obj.get("message")),
        at=moment(at) or NEVER,
        count=int(series.get("count") or obj.get("count") or 1),
    )


def text(value: Any) -> str:
    """A message as the database takes it: no NUL, of bounded length (the end is what says why)."""
    return str(value or "").replace("\x00", "�")[-MAX_MESSAGE:]


def moment(value: str | None) -> datetime | None:
    """``None`` also for the epoch, which container runtimes report for what never began."""
    if not value or value.startswith("1970-01-01T00:00:00"):
        return None
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


def _job_id(meta: Object) -> str | None:
    """The job that an object's label names. Whoever may write in a namespace may write labels: one that is no id is nobody's."""
    label = (meta.get("labels") or {}).get(JOB_ID_LABEL) or ""
    try:
        return label if str(UUID(label)) == label else None
    except ValueError:
        return None


def _current_step(status: Object) -> tuple[str, Object]:
    """The first init container that has not succeeded, else the training container, with its state."""
    for init in status.get("initContainerStatuses") or []:
        state = init.get("state") or {}
        ended = state.get("terminated")
        if not ended or ended.get("exitCode") != 0:
            return init["name"], state
    return CONTAINER, _main(status)


def _main(status: Object) -> Object:
    for container in status.get("containerStatuses") or []:
        if container["name"] == CONTAINER:
            return container.get("state") or {}
    return {}
