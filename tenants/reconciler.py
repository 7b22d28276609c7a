"""Makes the teams' namespaces follow their rows, puts back what somebody changed there by hand, and takes deleted teams away.

Wanted rows come from the database (a notification on commit, a sweep that finds what a lost one would have said, and a look at
all of them once a minute, because grants run out); what stands comes from watches. At rest there is a small query every few
seconds and no call to the cluster. A difference in view is looked at on the server itself before anything is done about it.

Any number of these may run: a team's namespace is worked on under a lease, and every write names it. When the cluster does not
answer nothing is written down. A deletion is through when the server has said that the namespace is not there.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from platform_portal import names, origin
from platform_portal.kube.cluster import Cluster
from platform_portal.kube.errors import ClusterError, Conflict, Refused
from platform_portal.loop import WorkQueue, keep_going
from tenants import audit, manifests, namespaces, quotas
from tenants.models import AuditEntry, Tenant
from tenants.namespace_view import NamespaceView, Suspect
from tenants.namespaces import Correction, Gone, Standing
from tenants.purge import purge
from tenants.wishes import artifact_root, wish_of

log = logging.getLogger(__name__)

BATCH = 50
SWEEP_SECONDS = 5.0
# Notifications come with every submission of a job; what they may have to say of teams is asked for this often at most.
SWEEP_PAUSE_SECONDS = 0.2
LOOK_AT_ALL_SECONDS = 60.0
LEASE_MARGIN_SECONDS = 5
MAX_BACKOFF_SECONDS = 60.0
REPORT_SECONDS = 60
# After so long in peace, what differs again is new.
FORGIVE_SECONDS = 300.0
MAX_REMEMBERED = 10_000
DRIFT_ACTION = "namespace.drift-corrected"


@dataclass(frozen=True)
class Task:
    """A call to the cluster. ``digest`` names what all of it applies, ``suspects`` what it looks at."""

    call: Callable[[], Any]
    digest: str = ""
    suspects: tuple[Suspect, ...] = ()


@dataclass
class Trouble:
    """How often in a row something went wrong with a team, or was put back, and until when it is left alone for that."""

    count: int
    until: float
    version: int = -1


class TenantReconciler:
    """One instance; ``step`` does what is to be done now, ``run`` goes on until told to stop."""

    def __init__(self, cluster: Cluster, *, workers: int = 4) -> None:
        self.cluster = cluster
        self.id = uuid4()
        self.queue = WorkQueue()
        self.view = NamespaceView(cluster, self._on_change)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="namespaces")
        self._sweep_at = self._all_at = self._swept = 0.0
        self._seen_all = False
        self._failing: dict[str, Trouble] = {}
        self._fights: dict[tuple[str, Suspect], Trouble] = {}

    def sweep_now(self) -> None:
        """Rows may have changed; safe from any thread."""
        self._sweep_at = min(self._sweep_at, self._swept + SWEEP_PAUSE_SECONDS)
        self.queue.wake()

    def run(self) -> None:
        """Reconciles until ``stop``; a database or cluster that is away for a while is waited for."""
        self.view.start()
        try:
            with origin.working("reconciler"):
                keep_going(self.step, self._wait, self._stop, log)
        finally:
            self.view.stop()
            self._pool.shutdown(wait=True)

    def stop(self) -> None:
        self._stop.set()
        self.queue.wake()

    def step(self) -> bool:
        """One round; returns whether there was anything to do."""
        now = time.monotonic()
        if not self._seen_all and self.view.synced:
            # What happened while nobody watched is caught up.
            self._seen_all, self._all_at = True, 0.0
        if now >= self._all_at:
            self._all_at = now + LOOK_AT_ALL_SECONDS
            self._look_at_all()
        if now >= self._sweep_at:
            self._swept, self._sweep_at = now, now + SWEEP_SECONDS
            self._sweep()
        slugs = self.queue.take(BATCH)
        if not slugs:
            return False
        try:
            self._reconcile(slugs)
        except Exception:
            for slug in slugs:
                self.queue.again(slug, 2.0)
            raise
        return True

    # ---- what is to be done

    def _on_change(self, slug: str, kind: str) -> None:
        if kind == namespaces.NAMESPACE:
            # Whatever was wrong with it may be over: it has gone, or somebody has given it its labels.
            self._failing.pop(slug, None)
        self.queue.add(slug)

    def _sweep(self) -> None:
        """By the partial index on these rows: where nothing is to be applied nothing is read."""
        due = Tenant.objects.filter(
            Q(deleting_at__isnull=False) | Q(applied_version__isnull=True) | ~Q(applied_version=F("version"))
        )
        for slug in due.order_by().values_list("slug", flat=True)[: 20 * BATCH]:
            self.queue.add(slug)

    def _look_at_all(self) -> None:
        """Finds what no version tells of: grants that ran out, settings of a new start, and what stands otherwise."""
        now = timezone.now()
        for tenant in Tenant.objects.order_by().iterator(chunk_size=500):
            if tenant.applied_digest != manifests.digest(wish_of(tenant, now)) or self.view.suspects(
                wish_of(tenant, now)
            ):
                self.queue.add(tenant.slug)
            self._come_back_when_a_grant_ends(tenant, now)

    def _come_back_when_a_grant_ends(self, tenant: Tenant, now: datetime) -> None:
        ends = [datetime.fromisoformat(grant["until"]) for grant in quotas.live_grants(tenant.grants, now)]
        soon = (min(ends) - now).total_seconds() if ends else LOOK_AT_ALL_SECONDS
        if soon < LOOK_AT_ALL_SECONDS:
            self.queue.again(tenant.slug, soon + 0.05)

    def _wait(self) -> None:
        self.queue.wait(min(self._sweep_at, self._all_at))

    # ---- one batch

    def _reconcile(self, slugs: list[str]) -> None:
        now = timezone.now()
        work: list[tuple[Tenant, Task]] = []
        for tenant in Tenant.objects.filter(slug__in=slugs):
            if tenant.deleting_at is None:
                self._come_back_when_a_grant_ends(tenant, now)
            task = self._task(tenant, now)
            if task is not None and self._may_try(tenant):
                work.append((tenant, task))
        if not work:
            return
        won = claim([tenant for tenant, _ in work], self.id, now)
        mine = [pair for pair in work if pair[0].pk in won]
        for tenant, _ in work:
            if tenant.pk not in won:
                self.queue.again(tenant.slug, 1.0)
        results = list(self._pool.map(_attempt, [task.call for _, task in mine]))
        for (tenant, task), result in zip(mine, results, strict=True):
            self._finish(tenant, task, result)

    def _task(self, tenant: Tenant, now: datetime) -> Task | None:
        """The call to the cluster that is due; where only the row is behind it is written here and now."""
        cluster, uid = self.cluster, tenant.namespace_uid
        if tenant.deleting_at is not None:
            return Task(lambda: namespaces.remove(cluster, tenant.slug, uid=uid))
        wish = wish_of(tenant, now)
        digest = manifests.digest(wish)
        if tenant.applied_digest != digest:
            return Task(lambda: namespaces.apply_all(cluster, wish, uid=uid), digest=digest)
        suspects = tuple(one for one in self.view.suspects(wish) if self._peace_over(tenant.slug, one))
        if suspects:
            keys = {one.key for one in suspects}
            return Task(lambda: namespaces.put_back(cluster, wish, keys, uid=uid), suspects=suspects)
        if tenant.applied_version != tenant.version or (tenant.apply_error and not self.view.suspects(wish)):
            Tenant.objects.filter(pk=tenant.pk, version=tenant.version, applied_digest=tenant.applied_digest).update(
                applied_version=tenant.version, apply_error=""
            )
        return None

    def _may_try(self, tenant: Tenant) -> bool:
        """Not while a failure is waited out, unless the row has changed since."""
        trouble = self._failing.get(tenant.slug)
        if trouble is None or trouble.version != tenant.version or time.monotonic() >= trouble.until:
            return True
        self.queue.again(tenant.slug, trouble.until - time.monotonic())
        return False

    def _peace_over(self, slug: str, suspect: Suspect) -> bool:
        """Whether this may be put back now: what differs again and again, somebody else wants, and is given ever more time."""
        fight = self._fights.get((slug, suspect))
        if fight is None or time.monotonic() >= fight.until:
            return True
        self.queue.again(slug, fight.until - time.monotonic())
        return False

    # ---- what came of it

    def _finish(self, tenant: Tenant, task: Task, result: Standing | Gone | ClusterError) -> None:
        now = timezone.now()
        if isinstance(result, ClusterError):
            self._failed(tenant, result)
        elif isinstance(result, Gone):
            self._deleting(tenant, result, now)
        else:
            self._failing.pop(tenant.slug, None)
            self._remember(tenant.slug, task.suspects)
            written(tenant, result, task.digest, self.id, now)
            # What the watches said while the row was leased was put off until now.
            self.queue.again(tenant.slug, 0.2)

    def _failed(self, tenant: Tenant, error: ClusterError) -> None:
        trouble = self._failing.get(tenant.slug)
        count = trouble.count + 1 if trouble and trouble.version == tenant.version else 1
        wait = max(min(2.0 ** min(count - 1, 6), MAX_BACKOFF_SECONDS), error.retry_after or 0)
        self._failing[tenant.slug] = Trouble(count, time.monotonic() + wait, tenant.version)
        self.queue.again(tenant.slug, wait)
        fields: dict[str, Any] = {}
        if isinstance(error, Refused) and tenant.apply_error != error.message:
            log.error("the namespace of %s: %s", tenant.slug, error.message)
            fields["apply_error"] = error.message[:2000]
        elif not isinstance(error, Refused):
            log.warning("the namespace of %s: %s; again in %.0f s", tenant.slug, error, wait)
        release(tenant, self.id, **fields)

    def _remember(self, slug: str, suspects: tuple[Suspect, ...]) -> None:
        now = time.monotonic()
        for suspect in suspects:
            fight = self._fights.pop((slug, suspect), None)
            count = fight.count + 1 if fight and now < fight.until + FORGIVE_SECONDS else 1
            # The watch needs a moment to show what was put back.
            peace = min(2.0 ** (count - 2), MAX_BACKOFF_SECONDS)
            self._fights[slug, suspect] = Trouble(count, now + peace)
        while len(self._fights) > MAX_REMEMBERED:
            self._fights.pop(next(iter(self._fights)))

    def _deleting(self, tenant: Tenant, result: Gone, now: datetime) -> None:
        if not result.gone:
            release(tenant, self.id, **({"apply_error": result.reason} if result.reason != tenant.apply_error else {}))
            # The watch says at once when it has gone; this is for a watch that does not.
            self.queue.again(tenant.slug, 2.0)
            return
        if not purge(tenant):
            release(tenant, self.id)
            self.queue.add(tenant.slug)
            return
        tenant_forget(tenant, self.id)
        self._failing.pop(tenant.slug, None)


def tenant_apply(*, tenant: Tenant, cluster: Cluster, now: datetime) -> None:
    """Applies every object of the tenant at once; raises ``kube.errors`` when the cluster does not take one, and a ``Conflict``
    while somebody else is at it."""
    if tenant.deleting_at is not None:
        raise Refused(
            403, "TenantDeleting", f"The team {tenant.slug} is being deleted; its namespace is not made again."
        )
    owner = uuid4()
    if not claim([tenant], owner, now):
        raise Conflict(409, "Busy", f"the namespace {names.namespace(tenant.slug)} is being prepared")
    wish = wish_of(tenant, now)
    try:
        standing = namespaces.apply_all(cluster, wish, uid=tenant.namespace_uid)
    except ClusterError:
        release(tenant, owner)
        raise
    written(tenant, standing, manifests.digest(wish), owner, now)


def claim(tenants: list[Tenant], owner: UUID, now: datetime) -> set[int]:
    """Leases those rows that are as they were read and nobody's; returns their ids."""
    until = now + timedelta(seconds=3 * settings.KUBE_TIMEOUT_SECONDS + LEASE_MARGIN_SECONDS)
    won = set()
    for tenant in tenants:
        free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
        same = Tenant.objects.filter(free, pk=tenant.pk, version=tenant.version, deleting_at=tenant.deleting_at)
        if same.update(lease_owner=owner, lease_until=until):
            won.add(tenant.pk)
    return won


def release(tenant: Tenant, owner: UUID, **fields: Any) -> None:
    Tenant.objects.filter(pk=tenant.pk, lease_owner=owner).update(lease_owner=None, lease_until=None, **fields)


def written(tenant: Tenant, standing: Standing, digest: str, owner: UUID, now: datetime) -> None:
    """Writes down what stands, by its ``digest`` if all of it was applied, and tells of what was put back; in one transaction."""
    fields: dict[str, Any] = {"namespace_uid": standing.uid, "apply_error": "", "applied_version": tenant.version}
    with transaction.atomic():
        told = [one for one in standing.corrections if _report(tenant, one, now)]
        if told:
            fields["drift_at"] = now
        if digest:
            fields |= {"applied_digest": digest, "applied_at": now}
        release(tenant, owner, **fields)


def _report(tenant: Tenant, one: Correction, now: datetime) -> bool:
    """Once a minute at most for the same finding, whichever reconciler it was that put it back."""
    target = f"{one.kind} {one.name}"
    since = now - timedelta(seconds=REPORT_SECONDS)
    lines = AuditEntry.objects.filter(tenant_id=tenant.pk, at__gt=since, action=DRIFT_ACTION, target=target)
    if any(line.after == one.after for line in lines):
        return False
    log.warning("%s in %s was changed by hand and is put back: %s", target, names.namespace(tenant.slug), one.before)
    audit.record(audit.PLATFORM, DRIFT_ACTION, tenant=tenant, target=target, before=one.before, after=one.after)
    return True


@transaction.atomic
def tenant_forget(tenant: Tenant, owner: UUID) -> None:
    """The end of a deletion: the team's row goes, and the audit log says what stays behind."""
    row = Tenant.objects.select_for_update().filter(pk=tenant.pk, lease_owner=owner, deleting_at__isnull=False).first()
    if row is None:
        return
    before = {"name": row.name, "cost_center": row.cost_center_id, "namespace": names.namespace(row.slug)}
    after = {"files_left_at": artifact_root(row), "asked_by": row.deletion_requested_by}
    audit.record(
        audit.PLATFORM, "tenant.deleted", tenant=row, target=row.slug, target_id=row.pk, before=before, after=after
    )
    rows = Tenant.objects.filter(pk=row.pk)
    rows._raw_delete(rows.db)


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClusterError as exc:
        return exc


__all__ = ["TenantReconciler", "tenant_apply", "wish_of"]
