"""Reads on quota and queue: what a team holds, what a wish would meet, and who stands where in the team's queue."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from jobs.models import TrainingJob
from jobs.reasons import EXCEEDS_QUOTA
from platform_portal.errors import DomainError
from tenants.context import TenantContext
from tenants.models import QuotaUsage
from tenants.quotas import GPU_TYPE, RESOURCES, Ask, Held, Limits, Outcome, Verdict, decide, held_of, limits_of

# When a refused submission may be worth repeating: jobs end all the time, quotas change by hand.
RETRY_LATER, RETRY_NEVER = 30, 3600


class QuotaExceeded(DomainError):
    """A submission that does not fit now, or never would. ``verdict`` is what it was decided by."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        later = verdict.outcome is Outcome.WAIT
        hint = ' Send "queue": true to let it wait for its turn.' if later else ""
        super().__init__(
            "quota_exceeded",
            verdict.sentence + hint,
            http_status=429,
            extra={
                "exceeded": [one.as_json() for one in verdict.exceeded],
                "fits": "later" if later else "never",
                "waiting": verdict.waiting,
            },
            headers={"Retry-After": str(RETRY_LATER if later else RETRY_NEVER)},
        )


class Preview(NamedTuple):
    """What a wish would meet at this moment. ``waiting`` counts all that wait in the team's queue."""

    verdict: Verdict
    limits: Limits
    held: Held
    waiting: int

    @property
    def position_if_queued(self) -> int | None:
        return self.verdict.waiting + 1 if self.verdict.outcome is Outcome.WAIT else None


@dataclass(frozen=True)
class QuotaState:
    """A team's limits, what it holds of them, and how many of its jobs wait."""

    limits: Limits
    held: Held
    waiting: int

    @property
    def limits_by_resource(self) -> dict[str, int]:
        found = {resource: getattr(self.limits, resource) for resource in RESOURCES}
        return found | {GPU_TYPE + model: most for model, most in self.limits.gpu_types.items()}

    @property
    def used_by_resource(self) -> dict[str, int]:
        """What is counted while jobs run; a limit on each job alone is used by none."""
        found = {resource: getattr(self.held, resource) for resource in ("cpu", "memory_gb", "gpus", "jobs", "pods")}
        models = {*self.limits.gpu_types, *self.held.gpu_types}
        return found | {GPU_TYPE + model: self.held.gpu_types.get(model, 0) for model in sorted(models)}

    @property
    def left_by_resource(self) -> dict[str, int]:
        """What is left of each limit that is counted; nothing less than 0, also where a lowered limit is overrun."""
        limits = self.limits_by_resource
        return {
            resource: max(limits[resource] - used, 0)
            for resource, used in self.used_by_resource.items()
            if resource in limits
        }


def quota_state(ctx: TenantContext, now: datetime | None = None) -> QuotaState:
    """One query."""
    usage = QuotaUsage.objects.get(tenant=ctx.tenant)
    return QuotaState(limits_of(ctx.tenant, now or timezone.now()), held_of(usage), usage.waiting)


def quota_preview(
    ctx: TenantContext, compute: Mapping[str, Any], *, priority: int = 0, now: datetime | None = None
) -> Preview:
    """What a job of this size (a clean ``compute`` object) would meet: one query, and one more while jobs wait."""
    state = quota_state(ctx, now)
    ahead = waiting_before(ctx.tenant.pk, state.limits, priority) if state.waiting else 0
    verdict = decide(state.limits, state.held, ask_of(compute), waiting=ahead)
    return Preview(verdict, state.limits, state.held, state.waiting)


def waiting_verdict(job: TrainingJob, ctx: TenantContext) -> Verdict | None:
    """Why a waiting job waits, as things stand now; ``None`` for one that does not wait."""
    if not job.waits:
        return None
    state = quota_state(ctx)
    ahead = max((job.queue_position or 1) - 1, 0)
    return decide(state.limits, state.held, job.ask, waiting=ahead)


def ask_of(compute: Mapping[str, Any]) -> Ask:
    """What a job of this size counts for."""
    return Ask(
        cpu=compute["cpu_cores"],
        memory_gb=compute["memory_gb"],
        gpus=compute.get("gpu_count") or 0,
        gpu_type=compute.get("gpu_type") or "",
    )


def could_fit(limits: Limits) -> Q:
    """Waiting jobs that these limits could hold with nothing else running: the others block nobody."""
    fits = Q(
        cpu_cores__lte=limits.cpu,
        memory_gb__lte=limits.memory_gb,
        gpu_count__lte=min(limits.gpus, limits.gpus_per_job),
        pods__lte=limits.pods,
    )
    for model, most in limits.gpu_types.items():
        fits &= ~Q(gpu_type=model, gpu_count__gt=most)
    # Each asks to be one running job.
    return fits if limits.jobs else Q(pk__in=[])


def waiting_before(tenant_id: int, limits: Limits, priority: int) -> int:
    """How many jobs a new one of this priority has to let go first."""
    waiting = TrainingJob.objects.waiting().filter(could_fit(limits), tenant_id=tenant_id, priority__gte=priority)
    return waiting.order_by().count()


def add_positions(ctx: TenantContext, jobs: Iterable[TrainingJob]) -> None:
    """Notes the place in the team's queue of those that wait: one query if any does, none otherwise.

    PostgreSQL counts the queue and answers with these jobs alone, however long the queue is. A job that exceeds the quota
    altogether has no place: it stands in nobody's way, and has no turn.
    """
    waiting = {job.pk: job for job in jobs if job.waits}
    if not waiting:
        return
    order = (F("priority").desc(), F("created_at").asc(), F("id").asc())
    queue = TrainingJob.objects.of(ctx).waiting().exclude(reason=EXCEEDS_QUOTA).order_by()
    ranked = queue.annotate(place=Window(RowNumber(), order_by=order)).values_list("pk", "place")
    # Around the ranking: a condition within it, as filter() adds one, would rank the wanted jobs among themselves.
    sql, params = ranked.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, place FROM ({sql}) AS ranked (id, place) WHERE id = ANY(%s)",
            [*params, list(waiting)],
        )
        for pk, place in cursor.fetchall():
            waiting[pk].queue_position = place
