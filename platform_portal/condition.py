"""How the platform is, for its administrators: what is wrong, what that means and what to do about it.

Read from the database alone, in a constant number of queries: the reconciler writes down when it last had the cluster in
view, and work that nobody takes grows old in its table. ``judged`` is the pure part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, F, Min, Q, Sum
from django.urls import reverse
from django.utils.timesince import timesince

from jobs.models import JobLog, TrainingJob
from tenants import amounts
from tenants.models import AuditEntry, ClusterContact, Notification, QuotaRequest, Tenant
from tenants.quotas import held_of, limits_of

OK, WARN, BAD = "ok", "warn", "bad"
ORDER = {BAD: 0, WARN: 1, OK: 2}
SHOWN = 8
# The reconciler writes its contact every few seconds.
LATE, SILENT = timedelta(seconds=60), timedelta(minutes=5)
OVERDUE = timedelta(minutes=2)
UNDELIVERED = timedelta(minutes=10)
STUCK = timedelta(minutes=10)
FORGOTTEN = timedelta(days=2)
RECENT = timedelta(days=1)
HIGH_PERCENT = 80


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. seen is what was found, remedy what to do about it; empty where nothing is wrong."""

    name: str
    level: str
    seen: str
    remedy: str = ""
    url: str = ""


@dataclass(frozen=True)
class Facts:
    """What the database says, as plain values."""

    now: datetime
    # Name to (when it was last seen, what it said was wrong).
    contacts: dict[str, tuple[datetime | None, str]]
    jobs_overdue: int
    logs_overdue: int
    mail_overdue: int
    tenants_failing: int
    tenants_drifted: int
    deleting_since: datetime | None
    requests_pending: int
    oldest_request: datetime | None
    migrations_missing: int = 0


@dataclass(frozen=True)
class Pressed:
    """A team that is near a limit: the resource it is nearest with."""

    tenant: Tenant
    label: str
    used: int
    limit: int

    @property
    def percent(self) -> int:
        return round(100 * self.used / self.limit) if self.limit else 100


def findings(now: datetime) -> list[Finding]:
    """Everything that is looked at, the worst first."""
    executor = MigrationExecutor(connection)
    missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return judged(_facts(now, _of_tenants(now), missing))


def overview(now: datetime) -> dict[str, Any]:
    """What the first page shows."""
    of_tenants = _of_tenants(now)
    found = [one for one in judged(_facts(now, of_tenants, 0)) if one.level != OK]
    return {
        "now": now,
        "findings": found,
        "live": of_tenants["live"] or 0,
        "waiting": of_tenants["waiting"] or 0,
        "teams": of_tenants["teams"],
        "failing": of_tenants["failing"],
        "pressed": _pressed(now),
        "troubled": list(
            Tenant.objects.filter(~Q(apply_error="") | Q(deleting_at__isnull=False) | Q(drift_at__gte=now - RECENT))
            .only("slug", "name", "apply_error", "deleting_at", "drift_at")
            .order_by("slug")[:SHOWN]
        ),
        "requests": list(
            QuotaRequest.objects.filter(status=QuotaRequest.Status.PENDING)
            .select_related("tenant", "requested_by")
            .order_by("created_at")[:SHOWN]
        ),
        "audit": list(AuditEntry.objects.all()[:SHOWN]),
    }


def judged(facts: Facts) -> list[Finding]:
    """PURE: the facts as findings, the worst first."""
    found = [
        *_of_contacts(facts),
        _backlog(
            "Training jobs",
            facts.jobs_overdue,
            "live jobs should have been looked at more than two minutes ago",
            "every live job is looked at in time",
            "Nobody reconciles, or not fast enough. See that manage.py reconcile runs (deployment ml-platform-reconcile) and read"
            " its log; it may be restarted at any moment, nothing is lost and nothing runs twice.",
            reverse("admin:jobs_trainingjob_changelist"),
        ),
        _backlog(
            "Logs of jobs",
            facts.logs_overdue,
            "logs wait for more than ten minutes to be copied",
            "logs are copied in time",
            "See that the Celery worker and beat run and that the broker (CELERY_BROKER_URL) answers. Kubernetes keeps a"
            " pod's log for some time, so what is late is not lost yet.",
        ),
        _backlog(
            "Mail",
            facts.mail_overdue,
            "notifications wait for more than ten minutes to be sent",
            "no mail waits",
            "See that the Celery worker and beat run and that the mail server in EMAIL_URL takes mail; people see what they"
            " are told in the portal meanwhile.",
        ),
        _of_namespaces(facts),
        _of_requests(facts),
        _backlog(
            "Database schema",
            facts.migrations_missing,
            "migrations have not been applied",
            "every migration has been applied",
            "Run manage.py migrate with the version of the program that serves now, before anything else is looked into.",
            level=BAD,
        ),
    ]
    return sorted(found, key=lambda one: ORDER[one.level])


def _of_contacts(facts: Facts) -> Iterable[Finding]:
    if not facts.contacts:
        yield Finding(
            "Reconciler",
            BAD,
            "No reconciler has ever had the cluster in view.",
            "Start one: manage.py reconcile. Jobs are accepted meanwhile and wait.",
        )
    for name, (seen_at, error) in sorted(facts.contacts.items()):
        title = "Reconciler and cluster" if name == "default" else f"Reconciler: {name}"
        age = facts.now - seen_at if seen_at else None
        seen = (
            f"Last had the cluster in view {timesince(seen_at, facts.now)} ago." if seen_at else "Never had it in view."
        )
        if error:
            yield Finding(
                title,
                BAD,
                f"The cluster does not answer: {error} {seen}",
                "Try kubectl get --raw /readyz with the reconciler's credentials: if that fails it is the cluster or the way"
                " to it, otherwise the credentials (KUBECONFIG or the service account). Running jobs go on; nothing is changed"
                " until it answers.",
            )
        elif age is None or age > LATE:
            level = BAD if age is None or age > SILENT else WARN
            yield Finding(
                title,
                level,
                seen,
                "The reconciler has stopped or hangs. Restart it (manage.py reconcile, deployment ml-platform-reconcile): it may"
                " be killed at any moment, and the next one lists the cluster anew.",
            )
        else:
            yield Finding(title, OK, seen)


def _of_namespaces(facts: Facts) -> Finding:
    name, url = "Namespaces of teams", reverse("admin:tenants_tenant_changelist")
    if facts.tenants_failing:
        return Finding(
            name,
            BAD,
            f"{_many(facts.tenants_failing, 'team')} could not be applied to the cluster.",
            "Open the team: its error is what Kubernetes said. Usually the platform's rights (deploy/rbac.yaml) or an admission"
            " policy of the cluster stand in the way. It is tried again by itself.",
            f"{url}?state=error",
        )
    if facts.deleting_since and facts.now - facts.deleting_since > STUCK:
        return Finding(
            name,
            WARN,
            f"A team's deletion has been under way for {timesince(facts.deleting_since, facts.now)}.",
            "Something in its namespace does not go: kubectl describe namespace ml-<team> names what holds it, usually a"
            " finalizer of a volume or of an operator that is not there any more.",
            f"{url}?state=deleting",
        )
    if facts.tenants_drifted:
        return Finding(
            name,
            WARN,
            f"{_many(facts.tenants_drifted, 'team')} had objects changed by hand within a day; they were put back.",
            "Find out who changes them (audit log, action namespace.drift-corrected): whoever does will be surprised again.",
            f"{url}?state=drift",
        )
    return Finding(name, OK, "All stand as wanted.", url=url)


def _of_requests(facts: Facts) -> Finding:
    name, url = "Requests for quota", reverse("admin:tenants_quotarequest_changelist")
    if not facts.requests_pending or facts.oldest_request is None:
        return Finding(name, OK, "None awaits a decision.", url=url)
    age = facts.now - facts.oldest_request
    waiting = timesince(facts.oldest_request, facts.now)
    seen = f"{_many(facts.requests_pending, 'request')} awaiting a decision, the oldest for {waiting}."
    return Finding(name, WARN if age > FORGOTTEN else OK, seen, "Somebody waits: grant, or decline and say why.", url)


def _backlog(name: str, count: int, wrong: str, right: str, remedy: str, url: str = "", level: str = WARN) -> Finding:
    if not count:
        return Finding(name, OK, f"{right[0].upper()}{right[1:]}.", url=url)
    return Finding(name, level, f"{count} {wrong}.", remedy, url)


def _of_tenants(now: datetime) -> dict[str, Any]:
    return Tenant.objects.aggregate(
        teams=Count("pk"),
        failing=Count("pk", filter=~Q(apply_error="")),
        drifted=Count("pk", filter=Q(drift_at__gte=now - RECENT)),
        deleting=Min("deleting_at"),
        live=Sum("usage__jobs"),
        waiting=Sum("usage__waiting"),
    )


def _facts(now: datetime, of_tenants: dict[str, Any], migrations_missing: int) -> Facts:
    pending = QuotaRequest.objects.filter(status=QuotaRequest.Status.PENDING)
    requests = pending.aggregate(count=Count("pk"), oldest=Min("created_at"))
    return Facts(
        now=now,
        contacts={one.name: (one.seen_at, one.error) for one in ClusterContact.objects.all()},
        jobs_overdue=TrainingJob.objects.filter(next_check_at__lt=now - OVERDUE).count(),
        logs_overdue=JobLog.objects.filter(due_at__lt=now - UNDELIVERED).count(),
        mail_overdue=Notification.objects.filter(mail_due_at__lt=now - UNDELIVERED).count(),
        tenants_failing=of_tenants["failing"],
        tenants_drifted=of_tenants["drifted"],
        deleting_since=of_tenants["deleting"],
        requests_pending=requests["count"],
        oldest_request=requests["oldest"],
        migrations_missing=migrations_missing,
    )


def _pressed(now: datetime) -> list[Pressed]:
    """Teams above the mark, the nearest to a limit first. Grants only raise limits: below without them is below with them."""
    near = Q()
    for resource, column in (
        ("cpu", "quota_cpu"),
        ("memory_gb", "quota_memory_gib"),
        ("gpus", "quota_gpus"),
        ("jobs", "quota_jobs"),
    ):
        near |= Q(**{f"usage__{resource}__gt": 0, f"usage__{resource}__gte": F(column) * HIGH_PERCENT / 100})
    found = []
    for tenant in Tenant.objects.filter(near).select_related("usage")[:200]:
        held, limits = held_of(tenant.usage), limits_of(tenant, now)
        shares = [
            Pressed(tenant, amounts.label(name), getattr(held, name), getattr(limits, name))
            for name in ("cpu", "memory_gb", "gpus", "jobs")
            if getattr(held, name)
        ]
        nearest = max(shares, key=lambda one: one.percent)
        if nearest.percent >= HIGH_PERCENT:
            found.append(nearest)
    return sorted(found, key=lambda one: (-one.percent, one.tenant.slug))[:SHOWN]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
