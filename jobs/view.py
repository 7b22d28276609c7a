"""What the reconciler has in view of the cluster, by job: kept by three watches, asked from memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from jobs.lifecycle import Seen
from jobs.observed import EventView, JobView, PodView, event_view, job_view, pod_view
from platform_portal import names
from platform_portal.kube.cluster import Cluster
from platform_portal.kube.watch import Informer

MAX_REFUSALS = 10_000
MAX_EARLY = 5_000


class ClusterView:
    """``changed`` is told the job id whenever something about the job is different; ``heard`` gets each new event."""

    def __init__(
        self, cluster: Cluster, changed: Callable[[str], None], heard: Callable[[str, EventView], None]
    ) -> None:
        self._changed, self._heard = changed, heard
        self._lock = threading.Lock()
        self._jobs: dict[str, dict[str, JobView]] = {}
        self._pods: dict[str, dict[str, PodView]] = {}
        self._job_of_object: dict[str, str] = {}
        # Refusals (a Job that may not make its pod) by the Job's uid; bounded, the oldest go.
        self._refusals: OrderedDict[str, EventView] = OrderedDict()
        # Events that came before the object they are about, by its uid; bounded likewise.
        self._early: OrderedDict[str, list[EventView]] = OrderedDict()
        self.informers: list[Informer] = [
            Informer(cluster, "Job", selector=names.SELECTOR, summarize=job_view, on_change=self._on_job),
            Informer(cluster, "Pod", selector=names.SELECTOR, summarize=pod_view, on_change=self._on_pod),
            Informer(cluster, "Event", summarize=event_view, on_change=self._on_event),
        ]

    def start(self) -> None:
        for informer in self.informers:
            informer.start()

    def stop(self) -> None:
        for informer in self.informers:
            informer.stop()
        for informer in self.informers:
            informer.join(timeout=5)

    @property
    def synced(self) -> bool:
        return all(informer.synced.is_set() for informer in self.informers[:2])

    @property
    def last_contact(self) -> float:
        """The monotonic time since when Jobs and Pods have both been heard of."""
        return min(informer.last_contact for informer in self.informers[:2])

    def seen(self, job_id: str, namespace: str, job: JobView | None = None, *, confirmed_absent: bool = False) -> Seen:
        """Everything in view about a job; ``job`` overrides the watched one with what a direct call just answered.

        Only its own namespace counts: a label elsewhere that names the job is somebody else's writing.
        """
        with self._lock:
            watched = [view for view in self._jobs.get(job_id, {}).values() if view.namespace == namespace]
            pods = tuple(view for view in self._pods.get(job_id, {}).values() if view.namespace == namespace)
        current = job or (max(watched, key=lambda view: view.name) if watched else None)
        if confirmed_absent:
            current = None
        refused = self._refusals.get(current.uid) if current else None
        return Seen(current, pods, refused, confirmed_absent)

    def job_ids(self) -> list[str]:
        with self._lock:
            return list(self._jobs)

    def _on_job(self, uid: str, before: JobView | None, after: JobView | None) -> None:
        self._put(self._jobs, uid, before, after)

    def _on_pod(self, uid: str, before: PodView | None, after: PodView | None) -> None:
        self._put(self._pods, uid, before, after)

    def _put(self, where: dict[str, dict], uid: str, before, after) -> None:  # type: ignore[no-untyped-def]
        view = after or before
        with self._lock:
            of_job = where.setdefault(view.job_id, {})
            if after is None:
                of_job.pop(uid, None)
                self._job_of_object.pop(uid, None)
                if not of_job:
                    where.pop(view.job_id, None)
            else:
                of_job[uid] = after
                self._job_of_object[uid] = view.job_id
            early = self._early.pop(uid, [])
        for event in early:
            self._heard(view.job_id, event)
        self._changed(view.job_id)

    def _on_event(self, uid: str, before: EventView | None, after: EventView | None) -> None:
        if after is None:
            return
        if after.kind == "Job" and after.reason == "FailedCreate":
            self._refusals[after.object_uid] = after
            while len(self._refusals) > MAX_REFUSALS:
                self._refusals.popitem(last=False)
        with self._lock:
            job_id = self._job_of_object.get(after.object_uid)
            if job_id is None:
                self._early.setdefault(after.object_uid, []).append(after)
                while len(self._early) > MAX_EARLY:
                    self._early.popitem(last=False)
                return
        self._heard(job_id, after)
        if after.reason == "FailedCreate":
            self._changed(job_id)
