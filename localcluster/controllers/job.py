"""The Job controller. Every pod it makes carries the tracking finalizer until the Job has counted its end; count and removal
are one transaction, so that no end is missed and none counted twice, whatever is killed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from localcluster.controllers import jobrules as rules
from localcluster.controllers.base import Controller
from localcluster.errors import ApiError
from localcluster.events import Recorder
from localcluster.objects import (
    Obj,
    condition,
    condition_is_true,
    controller_of,
    fresh,
    is_deleting,
    labels_of,
    name_of,
    owner_reference,
    parse_time,
    set_condition,
    uid_of,
)
from localcluster.registry import Registry, ignoring_missing
from localcluster.resources import JOBS, PODS
from localcluster.selectors import LabelSelector, Requirement
from localcluster.store import Change, Key

CREATED_AT_ONCE = 500
_JOB_NAME = "batch.kubernetes.io/job-name"


@dataclass
class _Count:
    """The state of a Job's pods in one sync."""

    succeeded: int
    failed: int
    done_indexes: set[int]
    to_release: list[Obj] = field(default_factory=list)
    policy_failure: str = ""


class JobController(Controller):
    name = "job-controller"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._events = Recorder(registry, self.name)

    def initial_keys(self) -> Iterable[Key]:
        yield from self.store.keys(JOBS.bucket)
        for item in self.store.items(PODS.bucket):
            if rules.TRACKING in (item.obj["metadata"].get("finalizers") or ()):
                yield item.key[0], labels_of(item.obj).get(_JOB_NAME, "")

    def keys_for(self, change: Change) -> Iterable[Key]:
        if change.bucket == JOBS.bucket:
            return (change.item.key,)
        if change.bucket != PODS.bucket:
            return ()
        owner = controller_of(change.item.obj)
        if owner is not None and owner["kind"] == JOBS.kind:
            return ((change.item.key[0], owner["name"]),)
        name = labels_of(change.item.obj).get(_JOB_NAME)
        return ((change.item.key[0], name),) if name else ()

    def reconcile(self, key: Key) -> float | None:
        item = self.store.get(JOBS.bucket, *key)
        self._release_orphans(key, uid_of(item.obj) if item else "")
        if item is None or item.obj["spec"].get("managedBy") not in (None, "kubernetes.io/job-controller"):
            return None
        job = fresh(item.obj)
        pods = [pod.obj for _, pod in self.store.owned_by(uid_of(job), PODS.bucket) if _is_controlled(pod.obj, job)]
        if rules.is_finished(job):
            self._release(pods)
            return self._expire(job)
        return self._sync(job, pods)

    def _sync(self, job: Obj, pods: list[Obj]) -> float | None:
        now = self.registry.clock.now()
        status = job.setdefault("status", {})
        suspended = bool(job["spec"].get("suspend"))
        if not suspended and not status.get("startTime") and not condition_is_true(job, "Suspended"):
            status["startTime"] = self.registry.now()
        count = self._count(job, pods)
        active = [pod for pod in pods if rules.is_active(pod)]
        terminating = [pod for pod in pods if rules.is_terminating(pod)]
        self._decide(job, count, active)
        again: float | None = None
        refused: ApiError | None = None
        target = _target(job)
        if target:
            self._write(job, count, active, terminating)
            self._delete(job, active)
        elif is_deleting(job):
            self._write(job, count, active, terminating)
        elif suspended:
            self._suspend(job, active, terminating, count)
        else:
            self._resume(job)
            again, refused = self._manage(job, pods, active, terminating, count)
        job = fresh(self.registry.get(JOBS, *_key(job)).obj)
        pods = [pod.obj for _, pod in self.store.owned_by(uid_of(job), PODS.bucket) if _is_controlled(pod.obj, job)]
        active = [pod for pod in pods if rules.is_active(pod)]
        terminating = [pod for pod in pods if rules.is_terminating(pod)]
        if target and not active and not terminating:
            count = self._count(job, pods)
            self._finish(job, *target)
        else:
            count = _Count(job["status"].get("succeeded", 0), job["status"].get("failed", 0), _done(job))
        self._write(job, count, active, terminating)
        if refused is not None:
            raise refused
        deadline = job["spec"].get("activeDeadlineSeconds")
        if deadline and status.get("startTime") and not suspended:
            left = deadline - (now - parse_time(status["startTime"])).total_seconds()
            again = left if again is None else min(again, left)
        return again

    def _count(self, job: Obj, pods: list[Obj]) -> _Count:
        """Count ends that were not counted yet; the pods among them are released with the next status write."""
        status = job["status"]
        count = _Count(status.get("succeeded", 0), status.get("failed", 0), _done(job))
        for pod in pods:
            if rules.TRACKING not in (pod["metadata"].get("finalizers") or ()):
                continue
            if rules.phase(pod) == "Succeeded":
                index = rules.index_of(pod) if rules.is_indexed(job) else None
                if index is None or index not in count.done_indexes:
                    count.succeeded += 1
                if index is not None:
                    count.done_indexes.add(index)
                count.to_release.append(pod)
            elif rules.counts_as_failed(pod, job):
                verdict = rules.judge(job, pod)
                count.failed += verdict.action != "Ignore"
                if verdict.action == "FailJob":
                    count.policy_failure = count.policy_failure or verdict.message
                count.to_release.append(pod)
        return count

    def _decide(self, job: Obj, count: _Count, active: list[Obj]) -> None:
        """Set SuccessCriteriaMet or FailureTarget when the Job's end is decided."""
        if _target(job):
            return
        now, status = self.registry.now(), job["status"]

        def fail(reason: str, message: str) -> None:
            set_condition(status, "FailureTarget", "True", now, reason=reason, message=message, lastProbeTime=now)

        if count.policy_failure:
            return fail("PodFailurePolicy", count.policy_failure)
        if count.failed > job["spec"].get("backoffLimit", 6) or self._restarts_too_often(job, active):
            return fail("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if self._is_past_deadline(job):
            return fail("DeadlineExceeded", "Job was active longer than specified deadline")
        if not job["spec"].get("suspend") and rules.is_complete(job, len(active), count.succeeded):
            message = "Reached expected number of succeeded pods"
            set_condition(
                status,
                "SuccessCriteriaMet",
                "True",
                now,
                reason="CompletionsReached",
                message=message,
                lastProbeTime=now,
            )

    def _finish(self, job: Obj, kind: str, reason: str, message: str) -> None:
        now, status = self.registry.now(), job["status"]
        set_condition(status, kind, "True", now, reason=reason, message=message, lastProbeTime=now)
        if kind == "Complete":
            status["completionTime"] = now
            self._events.normal(job, "Completed", "Job completed")
        else:
            self._events.warning(job, reason, message)

    def _restarts_too_often(self, job: Obj, active: list[Obj]) -> bool:
        if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(
            entry.get("restartCount", 0)
            for pod in active
            for field_name in ("initContainerStatuses", "containerStatuses")
            for entry in (pod.get("status") or {}).get(field_name) or ()
        )
        limit = job["spec"].get("backoffLimit", 6)
        return restarts > 0 and restarts >= limit if limit else restarts > 0

    def _is_past_deadline(self, job: Obj) -> bool:
        deadline, start = job["spec"].get("activeDeadlineSeconds"), job["status"].get("startTime")
        if not deadline or not start or job["spec"].get("suspend"):
            return False
        return (self.registry.clock.now() - parse_time(start)).total_seconds() >= deadline

    def _manage(
        self, job: Obj, pods: list[Obj], active: list[Obj], terminating: list[Obj], count: _Count
    ) -> tuple[float | None, ApiError | None]:
        """Make or remove pods; the seconds to wait if a back-off holds new ones back, and a refusal to try again."""
        holding = len(active)
        if job["spec"].get("podReplacementPolicy") == "Failed":
            holding += len(terminating)
        wanted = rules.wanted_active(job, len(active), count.succeeded)
        self._write(job, count, active, terminating)
        if len(active) > wanted:
            extra = sorted(
                active, key=lambda pod: (rules.phase(pod) == "Running", pod["metadata"]["creationTimestamp"])
            )
            self._release(extra[: len(active) - wanted])
            self._delete(job, extra[: len(active) - wanted])
            return None, None
        missing = min(wanted - holding, CREATED_AT_ONCE)
        if missing <= 0:
            return None, None
        left = rules.backoff_left(pods, self.registry.clock.now())
        if left > 0:
            return left, None
        for index in self._free_indexes(job, pods, count, missing) if rules.is_indexed(job) else [None] * missing:
            try:
                self._create(job, index)
            except ApiError as error:
                self._events.warning(job, "FailedCreate", f"Error creating: {error.message}")
                return None, error
        return (0.0 if missing == CREATED_AT_ONCE else None), None

    def _free_indexes(self, job: Obj, pods: list[Obj], count: _Count, missing: int) -> list[int]:
        replaced_late = job["spec"].get("podReplacementPolicy") == "Failed"
        busy = {
            rules.index_of(pod) for pod in pods if rules.is_active(pod) or (replaced_late and rules.is_terminating(pod))
        }
        free = (index for index in range(job["spec"]["completions"]) if index not in busy | count.done_indexes)
        return [index for index, _ in zip(free, range(missing), strict=False)]

    def _create(self, job: Obj, index: int | None) -> None:
        pod = rules.new_pod(job, index)
        pod["metadata"]["ownerReferences"] = [owner_reference(job)]
        created = self.registry.create(PODS, job["metadata"]["namespace"], fresh(pod)).obj
        self._events.normal(job, "SuccessfulCreate", f"Created pod: {name_of(created)}")

    def _delete(self, job: Obj, pods: list[Obj]) -> None:
        for pod in pods:
            ignoring_missing(lambda pod=pod: self.registry.delete(PODS, *_key(pod)))  # type: ignore[misc]
            self._events.normal(job, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _suspend(self, job: Obj, active: list[Obj], terminating: list[Obj], count: _Count) -> None:
        now = self.registry.now()
        if not condition_is_true(job, "Suspended"):
            set_condition(
                job["status"],
                "Suspended",
                "True",
                now,
                reason="JobSuspended",
                message="Job suspended",
                lastProbeTime=now,
            )
            self._events.normal(job, "Suspended", "Job suspended")
        job["status"].pop("startTime", None)
        self._write(job, count, active, terminating)
        self._release(active)
        self._delete(job, active)

    def _resume(self, job: Obj) -> None:
        if not condition_is_true(job, "Suspended"):
            return
        now = self.registry.now()
        set_condition(
            job["status"], "Suspended", "False", now, reason="JobResumed", message="Job resumed", lastProbeTime=now
        )
        job["status"]["startTime"] = now
        self._events.normal(job, "Resumed", "Job resumed")

    def _write(self, job: Obj, count: _Count, active: list[Obj], terminating: list[Obj]) -> None:
        """Write the status and release the pods it counts, both or neither."""
        status = job["status"]
        _set_or_drop(status, "active", len(active))
        _set_or_drop(status, "succeeded", count.succeeded)
        _set_or_drop(status, "failed", count.failed)
        status["terminating"] = len(terminating)
        status["ready"] = sum(condition_is_true(pod, "Ready") for pod in active)
        status.setdefault("uncountedTerminatedPods", {})
        if rules.is_indexed(job) and count.done_indexes:
            status["completedIndexes"] = rules.render_indexes(count.done_indexes)
        with self.store.transaction():
            ignoring_missing(lambda: self.registry.modify(JOBS, *_key(job), _putting(status), subresource="status"))
            self._release(count.to_release)
        count.to_release = []

    def _release(self, pods: list[Obj]) -> None:
        for pod in pods:
            if rules.TRACKING in (pod["metadata"].get("finalizers") or ()):
                ignoring_missing(lambda pod=pod: self.registry.modify(PODS, *_key(pod), _untrack))  # type: ignore[misc]

    def _release_orphans(self, key: Key, uid: str) -> None:
        """Pods whose Job is gone, or that were orphaned, have nobody who counts them."""
        selector = LabelSelector((Requirement(_JOB_NAME, "In", (key[1],)),))
        for item in self.store.items(PODS.bucket, key[0], selector):
            owner = controller_of(item.obj)
            if owner is None or (owner["kind"] == JOBS.kind and owner["uid"] != uid):
                self._release([item.obj])

    def _expire(self, job: Obj) -> float | None:
        ttl, finished = job["spec"].get("ttlSecondsAfterFinished"), rules.finish_time(job)
        if ttl is None or finished is None or is_deleting(job):
            return None
        left = ttl - (self.registry.clock.now() - finished).total_seconds()
        if left > 0:
            return float(left)
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid_of(job)}}
        ignoring_missing(lambda: self.registry.delete(JOBS, *_key(job), options))
        return None


def _target(job: Obj) -> tuple[str, str, str] | None:
    """The decided end: (final condition, reason, message)."""
    for kind, final in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")):
        entry = condition(job, kind)
        if entry is not None and entry["status"] == "True":
            return final, entry.get("reason", ""), entry.get("message", "")
    return None


def _done(job: Obj) -> set[int]:
    return rules.parse_indexes((job.get("status") or {}).get("completedIndexes", ""))


def _is_controlled(pod: Obj, job: Obj) -> bool:
    owner = controller_of(pod)
    return owner is not None and bool(owner["uid"] == uid_of(job))


def _key(obj: Obj) -> Key:
    return obj["metadata"]["namespace"], name_of(obj)


def _set_or_drop(status: Obj, field_name: str, value: int) -> None:
    if value:
        status[field_name] = value
    else:
        status.pop(field_name, None)


def _putting(status: Obj) -> Callable[[Obj], Obj]:
    return lambda obj: {**obj, "status": status}


def _untrack(pod: Obj) -> None:
    pod["metadata"]["finalizers"] = [entry for entry in pod["metadata"]["finalizers"] if entry != rules.TRACKING]
