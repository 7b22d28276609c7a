"""Reads of training jobs, always within a ``TenantContext``."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q

from jobs import manifests, quota, tokens
from jobs.models import LIVE, JobEvent, Status, TrainingJob
from jobs.reasons import EXCEEDS_QUOTA
from platform_portal.errors import forbidden, invalid, not_found
from tenants.context import TenantContext
from tenants.models import ClusterContact, InstanceType
from tenants.selectors.catalogue import instance_types

# What a list shows; a spec can have 64 KiB, so lists leave it in the database.
LIST_FIELDS = (
    "id", "name", "tenant_id", "owner_id", "submitted_by", "created_at", "instance_type", "status", "reason", "error_message",
    "cancel_requested_at", "started_at", "completed_at", "observed_at", "attempts", "kubernetes_job_name",
    "cpu_cores", "memory_gb", "gpu_count", "gpu_type", "price_per_hour", "queue", "priority", "admitted_at",
)  # fmt: skip


@dataclass(frozen=True)
class JobFilter:
    """What a list is narrowed to; empty values do not narrow. ``live`` is "pending or running"."""

    status: str = ""
    owner: str = ""
    name: str = ""
    live: bool = False

    @property
    def active(self) -> bool:
        return bool(self.status or self.owner or self.name or self.live)


def jobs_newest(
    ctx: TenantContext,
    wanted: JobFilter,
    *,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    with_spec: bool = False,
) -> tuple[list[TrainingJob], bool]:
    """One page of the tenant's jobs, newest first, and whether there are more.

    One query, by keyset, without a count; one more for the places in the queue when a job on the page waits.
    """
    jobs = _narrowed(TrainingJob.objects.of(ctx), wanted)
    if after is not None:
        # The row-wise comparison, spelled so that the index on (tenant, created_at, id) serves it.
        at, row_id = after
        jobs = jobs.filter(created_at__lte=at).exclude(created_at=at, id__gte=row_id)
    jobs = jobs.order_by("-created_at", "-id")
    jobs = jobs if with_spec else jobs.only(*LIST_FIELDS).annotate(compute=F("spec__compute"))
    page = list(jobs[: limit + 1])
    for job in page:
        job.tenant = ctx.tenant
    quota.add_positions(ctx, page[:limit])
    return page[:limit], len(page) > limit


def job_get(ctx: TenantContext, job_id: UUID) -> TrainingJob:
    """The job; a 404 for one that does not exist, a 403 for another tenant's."""
    job = TrainingJob.objects.select_related("tenant", "source").filter(pk=job_id).first()
    if job is None:
        raise not_found("training job")
    if job.tenant_id != ctx.tenant.pk:
        raise forbidden("This training job belongs to another team.")
    quota.add_positions(ctx, [job])
    return job


def job_of_token(job_id: UUID) -> TrainingJob | None:
    """The job that a training process's own, verified token names: there is no other context."""
    return TrainingJob.objects.select_related("tenant", "source").filter(pk=job_id).first()


def job_for_page(ctx: TenantContext, job_id: UUID) -> TrainingJob:
    """The job of the page's team; another team's looks like none."""
    job = TrainingJob.objects.of(ctx).select_related("tenant", "source").filter(pk=job_id).first()
    if job is None:
        raise not_found("training job in this team")
    quota.add_positions(ctx, [job])
    return job


def jobs_live_of(ctx: TenantContext, job_ids: list[UUID]) -> list[TrainingJob]:
    """Those of the jobs that have not ended, newest first; at most 200."""
    live = TrainingJob.objects.of(ctx).filter(pk__in=job_ids[:200], status__in=LIVE)
    found = list(live.order_by("-created_at", "-id").only(*LIST_FIELDS))
    quota.add_positions(ctx, found)
    return found


def jobs_waiting(ctx: TenantContext, *, limit: int) -> list[TrainingJob]:
    """The head of the team's queue, the next one first, each with its place. One query."""
    waiting = TrainingJob.objects.of(ctx).waiting().only(*LIST_FIELDS).annotate(compute=F("spec__compute"))
    found: list[TrainingJob] = list(waiting[:limit])
    with_turn = (job for job in found if job.reason != EXCEEDS_QUOTA)
    for position, job in enumerate(with_turn, 1):
        job.queue_position = position
    return found


def timeline(job: TrainingJob) -> list[JobEvent]:
    """The job's story, oldest first; bounded, because a crash loop can talk for days."""
    newest = list(JobEvent.objects.filter(job=job).order_by("-at", "-id")[:500])
    return newest[::-1]


def owners(ctx: TenantContext) -> list[str]:
    """Who has submitted jobs lately, for the list's filter: those of the newest 500 jobs."""
    recent = TrainingJob.objects.of(ctx).order_by("-created_at", "-id").values_list("submitted_by", flat=True)[:500]
    return sorted(set(recent))


def status_counts(ctx: TenantContext, most: int = 1000) -> dict[str, int]:
    """How many jobs are pending and running, counted up to ``most`` each over the index of live rows."""
    counts = {}
    for status in LIVE:
        live = TrainingJob.objects.of(ctx).filter(status=status)
        counts[str(status)] = live.order_by().values("pk")[:most].count()
    return counts


def compute_in_use(ctx: TenantContext) -> dict[str, int]:
    """Cores, GB of memory and GPUs that the tenant's admitted live jobs ask for."""
    held = quota.quota_state(ctx).held
    return {"cpu_cores": held.cpu, "memory_gb": held.memory_gb, "gpu_count": held.gpus}


def machines(ctx: TenantContext) -> list[InstanceType]:
    """The instance types that the team may use, in the administrator's order."""
    return instance_types(ctx)


def last_seen(job: TrainingJob) -> datetime | None:
    """When the job's state was last known to be true: for a live job, when the whole cluster was last in view."""
    if job.ended or not job.cluster_uid:
        return job.observed_at
    contact = cluster_seen_at()
    return max((at for at in (contact, job.observed_at) if at), default=None)


def cluster_seen_at() -> datetime | None:
    contact = ClusterContact.objects.filter(pk="default").first()
    return contact.seen_at if contact else None


def free_name(ctx: TenantContext, name: str) -> str:
    """A name for running a job again: the same with the next free number."""
    match = re.fullmatch(r"(.+?)-(\d{1,4})", name)
    base = (match[1] if match else name)[:44].rstrip("-")
    taken = set(TrainingJob.objects.of(ctx).filter(name__startswith=base).values_list("name", flat=True)[:10000])
    number = int(match[2]) + 1 if match else 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def request_of(job: TrainingJob) -> dict[str, Any]:
    """The shortest request that makes the same job, under its own name."""
    spec = {key: value for key, value in job.spec.items() if value not in (None, {}, "")}
    default_output = spec.get("model_output_path", "").rstrip("/").endswith(str(job.pk))
    if default_output:
        spec.pop("model_output_path")
    if job.instance_type:
        spec["compute"] = job.instance_type
    if job.queue:
        spec["queue"] = True
    if job.priority:
        spec["priority"] = job.priority
    return spec


def manifest_of(job: TrainingJob) -> dict[str, Any]:
    """The Kubernetes object as people may see it."""
    return manifests.redacted(manifests.training_job(job_wish(job)))


def job_wish(job: TrainingJob) -> manifests.JobWish:
    """Everything that the job's manifest depends on, from the row and the settings."""
    source = job.source
    return manifests.JobWish(
        job_id=job.pk,
        name=job.name,
        tenant=job.tenant.slug,
        cost_center=str(job.tenant.cost_center_id),
        spec=job.spec,
        output_path=job.output_path,
        token=tokens.make(job.pk),
        platform_url=settings.PLATFORM_INTERNAL_URL,
        restricted=job.tenant.pod_security == "restricted",
        source=manifests.Source(source.sha256, source.kind, source.filename) if source else None,
        fetch_image=settings.FETCH_IMAGE,
        git_image=settings.GIT_IMAGE,
        gpu_resource=settings.GPU_RESOURCE,
        gpu_node_label=settings.GPU_NODE_LABEL,
        tpu_resource=settings.TPU_RESOURCE,
        node_selector=job.placement.get("node_selector") or {},
        tolerations=tuple(job.placement.get("tolerations") or ()),
    )


def parse_filter(params: Any, *, strict: bool) -> JobFilter:
    """The filter of a query string; ``strict`` answers a 400 for an unknown status, pages ignore it."""
    status = params.get("status", "")
    live = status == "live"
    if status and not live and status not in Status.values:
        if strict:
            raise invalid({"status": [f"must be one of {', '.join(Status.values)}, or live"]})
        status = ""
    clean = {key: params.get(key, "").replace("\x00", "")[:150].strip() for key in ("owner", "name")}
    return JobFilter(status="" if live else status, live=live, **clean)


def _narrowed(jobs: Any, wanted: JobFilter) -> Any:
    conditions = Q()
    if wanted.status:
        conditions &= Q(status=wanted.status)
    if wanted.live:
        conditions &= Q(status__in=LIVE)
    if wanted.owner:
        conditions &= Q(submitted_by=wanted.owner)
    if wanted.name:
        conditions &= Q(name__contains=wanted.name.lower())
    return jobs.filter(conditions)
