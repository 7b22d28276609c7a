"""Makes the cluster follow the rows and the rows follow the cluster: load → observe → decide → act → apply, in batches.

Wanted rows come from the database (a notification on commit, and a sweep that finds what a lost one would have said);
observations come from watches. Cost follows changes: nothing is done for a row about which nothing is new. No transaction is open
during a call to the cluster. When the cluster does not answer, neither a row's state nor its ``observed_at`` changes.

Any number of these may run: a row is acted on under a lease, and every write names the version or lease it expects.
"""

import heapq
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from random import uniform
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connections
from django.utils import timezone

from jobs import lifecycle, logs, manifests, queue, writeback
from jobs.events import EventWriter
from jobs.lifecycle import Action, Decision, Row
from jobs.models import LIVE, TrainingJob
from jobs.observed import JobView, job_view, pod_view
from jobs.selectors import job_wish
from jobs.view import ClusterView
from jobs.writeback import Outcome
from platform_portal import names
from platform_portal.kube.cluster import Cluster
from platform_portal.kube.errors import ClusterError, Conflict, Expired, NotFound, Refused, Unavailable
from tenants import manifests as tenant_manifests
from tenants.models import ClusterContact, Tenant
from tenants.reconciler import tenant_apply, wish_of

log = logging.getLogger(__name__)

BATCH = 200
SWEEP_SECONDS = 2.0
CONTACT_SECONDS = 10.0
# A watch is opened anew at least every four minutes; one that has been silent longer shows nothing any more.
SILENT_SECONDS = 330.0
# Longer than a call to the cluster may take, so that a lease never ends under a call that is still under way.
LEASE_MARGIN_SECONDS = 5
MAX_BACKOFF_SECONDS = 60.0
LAST_LOG_SECONDS = 2.0
UNANSWERED_BEFORE_PAUSE = 3
WATCH_DELAY_SECONDS = 0.25
ROW_FIELDS = (
    "id", "name", "tenant", "created_at", "status", "reason", "cancel_requested_at", "cancelled_by", "cluster_uid",
    "error_message", "exit_code", "attempts", "started_at", "completed_at", "observed_at", "next_check_at", "failures", "version",
    "kubernetes_job_name", "lease_until", "admitted_at",
)  # fmt: skip


class Reconciler:
    """One instance; ``step`` does what is to be done now, ``run`` goes on until told to stop."""

    def __init__(self, cluster: Cluster, *, workers: int = 8) -> None:
        self.cluster = cluster
        self.id = uuid4()
        self.events = EventWriter()
        self.view = ClusterView(cluster, self.mark, self.events.add)
        self._dirty: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="cluster")
        self._sweep_at = self._contact_at = 0.0
        self._started_in_view = False
        self._blocked_until = 0.0
        self._unanswered = 0

    def mark(self, job_id: str) -> None:
        """Something about this job may be new; safe from any thread."""
        with self._lock:
            self._dirty.add(job_id)
        self._wake.set()

    def sweep_now(self) -> None:
        """Rows may have become due; safe from any thread."""
        self._sweep_at = 0.0
        self._wake.set()

    def run(self) -> None:
        """Reconciles until ``stop``; a database or cluster that is away for a while is waited for."""
        self.view.start()
        backoff = 1.0
        try:
            while not self._stop.is_set():
                try:
                    worked = self.step()
                    backoff = 1.0
                except Exception as exc:
                    if isinstance(exc, OperationalError | InterfaceError):
                        log.warning("the database does not answer: %s; again in %.0f s", exc, backoff)
                    else:
                        # One row or object that nobody thought of must not stop the work on all others.
                        log.exception("a round failed; again in %.0f s", backoff)
                    close_old_connections()
                    self._stop.wait(backoff)
                    backoff = min(backoff * 2, 30.0)
                    continue
                if not worked:
                    self._wait()
        finally:
            self.view.stop()
            self._pool.shutdown(wait=True)

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def step(self) -> bool:
        """One round; returns whether there was anything to do."""
        now = time.monotonic()
        self._first_look()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self._sweep()
        if now >= self._contact_at:
            self._contact_at = now + (CONTACT_SECONDS if self.view.synced else 1.0)
            self._record_contact()
        told = self.events.flush()
        batch = self._take_batch(now)
        if not batch:
            return bool(told)
        try:
            self._reconcile([UUID(job_id) for job_id in batch])
        except Exception:
            # Nothing may be forgotten because something failed: the whole batch comes again, a little later.
            for job_id in batch:
                self._again(job_id, 2.0)
            raise
        return True

    # ---- what is to be done

    def _first_look(self) -> None:
        """Once everything is in view, every live row is compared with it: what happened while nobody watched is caught up."""
        if self._started_in_view or not self.view.synced:
            return
        self._started_in_view = True
        live = TrainingJob.objects.filter(status__in=LIVE, admitted_at__isnull=False).values_list("pk", flat=True)
        known = {str(pk) for pk in live.iterator(chunk_size=5000)}
        with self._lock:
            self._dirty |= known
            self._dirty |= set(self.view.job_ids())
        log.info("the cluster is in view; %d live jobs to compare", len(known))

    def _sweep(self) -> None:
        queue.admit_waiting(timezone.now())
        due = TrainingJob.objects.filter(next_check_at__lte=timezone.now()).order_by("next_check_at")
        for job_id in due.values_list("pk", flat=True)[: 5 * BATCH]:
            self.mark(str(job_id))

    def _take_batch(self, now: float) -> list[str]:
        with self._lock:
            while self._later and self._later[0][0] <= now:
                self._dirty.add(heapq.heappop(self._later)[1])
            batch = [self._dirty.pop() for _ in range(min(BATCH, len(self._dirty)))]
            if not self._dirty:
                self._wake.clear()
        return batch

    def _again(self, job_id: str, seconds: float) -> None:
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + seconds, job_id))

    def _wait(self) -> None:
        with self._lock:
            deadline = min([self._sweep_at, self._contact_at, *(at for at, _ in self._later[:1])])
        self._wake.wait(max(0.01, deadline - time.monotonic()))

    def _record_contact(self) -> None:
        """Writes when the whole cluster was last in view: the "seen … ago" of every live job."""
        if not self.view.synced or time.monotonic() - self.view.last_contact > SILENT_SECONDS:
            return
        try:
            self.cluster.ping()
        except ClusterError as exc:
            ClusterContact.objects.update_or_create(name="default", defaults={"error": str(exc)[:500]})
            return
        ClusterContact.objects.update_or_create(name="default", defaults={"seen_at": timezone.now(), "error": ""})

    # ---- one batch

    def _reconcile(self, job_ids: Sequence[UUID]) -> None:
        now = timezone.now()
        jobs = TrainingJob.objects.filter(pk__in=job_ids).select_related("tenant").only(*ROW_FIELDS, *_tenant_fields())
        observed: list[Outcome] = []
        to_act: list[tuple[TrainingJob, Decision]] = []
        for job in jobs:
            if job.lease_until is not None and job.lease_until > now:
                self._again(str(job.pk), 1.0)
                continue
            decision = lifecycle.decide(_row(job), self.view.seen(str(job.pk), job.namespace), now)
            if decision.action is not None and job.failures and job.next_check_at and job.next_check_at > now:
                # It failed a moment ago, and its wait is not over; the sweep brings it back.
                continue
            self._remember(job, decision, now)
            if decision.action is not None:
                to_act.append((job, decision))
            elif decision.fields or decision.lines or (job.next_check_at and job.next_check_at <= now):
                observed.append(_outcome(job, decision, now, contact=self.view.synced))
        self._write(observed, now, owner=None)
        if to_act:
            self._act_on(to_act, now)

    def _act_on(self, wanted: list[tuple[TrainingJob, Decision]], now: datetime) -> None:
        if self._leaves_cluster_alone():
            for job, _ in wanted:
                self._again(str(job.pk), max(0.0, self._blocked_until - time.monotonic()))
            return
        jobs = [job for job, _ in wanted]
        until = now + timedelta(seconds=3 * settings.KUBE_TIMEOUT_SECONDS + LEASE_MARGIN_SECONDS)
        won = writeback.claim(jobs, self.id, now, until, [names.training_job(job.name, job.pk) for job in jobs])
        mine = [(job, decision) for job, decision in wanted if job.pk in won]
        for job in jobs:
            if job.pk not in won:
                self._again(str(job.pk), 1.0)
        creating = [job for job, decision in mine if decision.action is Action.CREATE]
        unprepared = self._prepare_tenants({job.tenant_id: job.tenant for job in creating}, now)
        full = TrainingJob.objects.select_related("tenant", "source").in_bulk([job.pk for job in creating])

        def act(pair: tuple[TrainingJob, Decision]) -> Decision | ClusterError:
            job, decision = pair
            if decision.action is Action.CREATE and job.tenant_id in unprepared:
                return unprepared[job.tenant_id]
            try:
                return self._act(job, full.get(job.pk, job), decision)
            except ClusterError as exc:
                return exc

        results = list(self._pool.map(act, mine))
        self._finish(mine, results)

    def _act(self, job: TrainingJob, full: TrainingJob, decision: Decision) -> Decision:
        """One call to the cluster (after a lost race two), and what it means for the row. Runs beside others: no database."""
        name, now = names.training_job(job.name, job.pk), timezone.now()
        row = lifecycle.merge(_row(job), decision)
        if decision.action is Action.CREATE:
            made = self.cluster.create(manifests.training_job(job_wish(full)), identity=names.JOB_ID_LABEL)
            view = job_view({"kind": "Job", **made})
            assert view is not None
            return lifecycle.created(row, view, now)
        if decision.action is Action.DELETE:
            self._keep_log(job)
            self.cluster.delete("Job", job.namespace, name, uid=decision.uid or None)
            return Decision(check_again_at=now + timedelta(seconds=1))
        found = self.cluster.get("Job", job.namespace, name)
        mine = job_view({"kind": "Job", **found}) if found else None
        ours: JobView | None = mine if mine is not None and mine.job_id == str(job.pk) else None
        seen = self.view.seen(str(job.pk), job.namespace, ours, confirmed_absent=ours is None)
        if ours is not None and ours.finished:
            pods = self.cluster.list("Pod", job.namespace, job.pod_selector)
            views = (pod_view(pod) for pod in pods)
            seen = replace(seen, pods=tuple(one for one in views if one is not None), pods_confirmed=True)
        answer = lifecycle.decide(row, seen, now)
        if answer.action is Action.DELETE and ours is not None:
            self.cluster.delete("Job", job.namespace, name, uid=ours.uid)
        look_again = now + timedelta(seconds=1) if ours else None
        return replace(answer, action=None, check_again_at=answer.check_again_at or look_again)

    def _keep_log(self, job: TrainingJob) -> None:
        """Saves what the program has printed so far, because its pod goes with the Job. No reason not to delete it."""
        try:
            logs.collect(job.pk, self.cluster, seconds=LAST_LOG_SECONDS)
        except (ClusterError, DatabaseError) as exc:
            log.info("the last lines of job %s are lost: %s", job.pk, exc)
        finally:
            # This runs in a thread of the pool, whose database connection nobody else would ever end.
            connections.close_all()

    def _finish(self, mine: Sequence[tuple[TrainingJob, Decision]], results: Sequence[Decision | ClusterError]) -> None:
        now = timezone.now()
        outcomes = []
        for (job, decision), result in zip(mine, results, strict=True):
            if isinstance(result, ClusterError):
                outcomes.append(self._failed(job, decision, result, now))
                continue
            self._unanswered = 0
            merged = replace(result, fields=decision.fields | result.fields, lines=(*decision.lines, *result.lines))
            outcomes.append(_outcome(job, merged, now, contact=True))
            self._remember(job, result, now)
        self._write(outcomes, now, owner=self.id)
        for (job, decision), result in zip(mine, results, strict=True):
            if isinstance(result, ClusterError):
                continue
            # What the watches said while the row was leased was put off until now. A new Job is given the moment that its
            # watch takes, or each would be asked for once more.
            if decision.action is Action.CREATE:
                self._again(str(job.pk), WATCH_DELAY_SECONDS)
            else:
                self.mark(str(job.pk))

    def _failed(self, job: TrainingJob, decision: Decision, error: ClusterError, now: datetime) -> Outcome:
        failures = min(job.failures + 1, 1000)
        wait = min(2.0 ** min(failures, 6), MAX_BACKOFF_SECONDS) * uniform(0.8, 1.2)
        fields = {"failures": failures, "next_check_at": now + timedelta(seconds=max(wait, error.retry_after or 0))}
        busy = isinstance(error, Expired) or (isinstance(error, Conflict) and error.reason not in ("AlreadyExists", ""))
        if busy:
            # Two writers met, for instance at the quota's counters: nothing is known about the object.
            log.info("job %s: %s; again in %.0f s", job.pk, error, wait)
            return Outcome(job, fields)
        if isinstance(error, Unavailable | NotFound):
            # NotFound is the namespace, gone since it was applied: it is applied again with the next attempt.
            if isinstance(error, NotFound):
                Tenant.objects.filter(pk=job.tenant_id).update(applied_digest="")
            else:
                self._no_answer(error)
            log.warning("job %s: %s; again in %.0f s", job.pk, error, wait)
            return Outcome(job, fields)
        if decision.action is not Action.CREATE:
            log.error("job %s: the cluster refuses to %s: %s", job.pk, decision.action, error)
            return Outcome(job, fields)
        refused = lifecycle.refused_by_cluster(_row(job), error.status, error.message[:2000], now)
        return _outcome(job, replace(refused, fields=fields | refused.fields), now, contact=True, keep_check=True)

    def _leaves_cluster_alone(self) -> bool:
        """Whether nothing is asked of the cluster now. When the pause is over one cheap question goes before all rows, so that
        no row pays for finding out, and all of them go on together."""
        if self._unanswered < UNANSWERED_BEFORE_PAUSE:
            return False
        if time.monotonic() >= self._blocked_until:
            try:
                self.cluster.ping()
            except Unavailable as exc:
                self._no_answer(exc)
            except ClusterError:
                # An answer, if not a kind one: what the rows ask may still be granted.
                return False
        return time.monotonic() < self._blocked_until

    def _no_answer(self, error: Unavailable) -> None:
        """After some calls without an answer the cluster is left alone for a while, instead of one time-out per row."""
        self._unanswered += 1
        if self._unanswered >= UNANSWERED_BEFORE_PAUSE:
            pause = min(2.0 ** min(self._unanswered - 2, 4), 15.0)
            self._blocked_until = time.monotonic() + max(pause, error.retry_after or 0)

    def _prepare_tenants(self, tenants: dict[int, Tenant], now: datetime) -> dict[int, ClusterError]:
        """Applies the namespaces that do not stand as wanted; returns the error of each that could not be."""
        failed: dict[int, ClusterError] = {}
        for tenant in tenants.values():
            if tenant.applied_digest == tenant_manifests.digest(wish_of(tenant)):
                continue
            try:
                tenant_apply(tenant=tenant, cluster=self.cluster, now=now)
            except ClusterError as exc:
                # Whatever is wrong with a team's namespace, the job as such is not refused: it waits and says why.
                refused = isinstance(exc, Refused | NotFound)
                failed[tenant.pk] = Refused(403, exc.reason, exc.message) if refused else exc
        return failed

    def _write(self, outcomes: list[Outcome], now: datetime, owner: UUID | None) -> None:
        written = writeback.apply(outcomes, now, owner)
        for outcome in outcomes:
            if outcome.job.pk not in written:
                self._again(str(outcome.job.pk), 0.5)
        if any(outcome.fields.get("status") in lifecycle.ENDED for outcome in outcomes):
            # What it held is free: the next in the team's queue need not wait for the sweep's time.
            self.sweep_now()

    def _remember(self, job: TrainingJob, decision: Decision, now: datetime) -> None:
        if decision.check_again_at is not None:
            self._again(str(job.pk), max(0.1, (decision.check_again_at - now).total_seconds()))


def _row(job: TrainingJob) -> Row:
    return Row(
        status=job.status,
        reason=job.reason,
        cancel_requested_at=job.cancel_requested_at,
        cancelled_by=job.cancelled_by,
        cluster_uid=job.cluster_uid,
        error_message=job.error_message,
        exit_code=job.exit_code,
        attempts=job.attempts,
        started_at=job.started_at,
        completed_at=job.completed_at,
        waits=job.waits,
    )


def _outcome(
    job: TrainingJob, decision: Decision, now: datetime, *, contact: bool, keep_check: bool = False
) -> Outcome:
    """The row's fields after a decision: seen now, and not due again unless something says so."""
    fields = dict(decision.fields)
    if contact and not job.ended:
        fields["observed_at"] = now
    if not keep_check:
        fields |= {"next_check_at": decision.check_again_at, "failures": 0}
    if fields.get("status") in lifecycle.ENDED:
        fields["next_check_at"] = None
    return Outcome(job, fields, decision.lines)


def _tenant_fields() -> list[str]:
    return [f"tenant__{field.attname}" for field in Tenant._meta.concrete_fields]
