"""Writes of training jobs. Each is one transaction; none waits for the cluster."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from jobs import insert
from jobs import spec as job_spec
from jobs.instance_types import CATALOGUE
from jobs.models import ENDED, JobEvent, SourceArchive, Status, TrainingJob
from platform_portal import storage, wakeup
from platform_portal.errors import DomainError, conflict, forbidden, invalid, not_found
from tenants.context import TenantContext
from tenants.models import Tenant


def job_submit(*, ctx: TenantContext, payload: Mapping[str, Any]) -> TrainingJob:
    """Accepts a training job, or raises ``DomainError`` with everything that is wrong and leaves nothing behind.

    Two submissions of one name meet at the unique constraint: one is a job, the other a conflict.
    """
    ctx.require(ctx.can_submit, "submit jobs")
    spec, errors = job_spec.clean(payload, rules_for(ctx.tenant))
    if "tenant_id" not in errors and spec["tenant_id"] != ctx.tenant.slug:
        raise forbidden(
            f"This token or page acts for {ctx.tenant.slug}; tenant_id must be the same.", "tenant_mismatch"
        )
    if errors:
        raise invalid(errors)
    source = _source_of(ctx, spec["source"])
    job = _new_job(ctx, spec, source, payload.get("compute"))
    if not insert.job_insert(job):
        sentence = "is the name of another job of this team; choose another"
        raise conflict("name_taken", f"The name {job.name!r} is taken in {ctx.tenant.slug}.", {"name": [sentence]})
    wakeup.notify()
    return job


def job_cancel(*, ctx: TenantContext, job_id: UUID) -> TrainingJob:
    """Asks for a job's end. Repeating it changes nothing; a job that has succeeded or failed is a conflict.

    A job that the reconciler has never touched is cancelled here and now; any other ends once the cluster has let go of it.
    """
    with transaction.atomic():
        job = (
            TrainingJob.objects.of(ctx)
            .select_for_update(of=("self",))
            .select_related("tenant")
            .filter(pk=job_id)
            .first()
        )
        if job is None:
            raise not_found("training job")
        ctx.require(ctx.can_manage(job.owner_id, job.submitted_by), "cancel this job")
        if job.status in (Status.SUCCEEDED, Status.FAILED):
            raise conflict("already_ended", f"The job has already {job.status}; there is nothing to cancel.")
        if job.cancel_requested_at is not None or job.ended:
            return job
        now = timezone.now()
        job.cancel_requested_at, job.cancelled_by = now, ctx.actor
        job.reason = "Cancelling"
        key, reason = "cancel-requested", "CancelRequested"
        if not job.kubernetes_job_name and job.lease_until is None:
            job.status, job.reason, job.completed_at, job.next_check_at = Status.CANCELLED, "CancelledByUser", now, None
            key, reason = "ended", "CancelledByUser"
        elif job.next_check_at is None or job.next_check_at > now:
            job.next_check_at = now
        job.version += 1
        job.save(
            update_fields=[
                "cancel_requested_at", "cancelled_by", "status", "reason", "completed_at", "next_check_at", "version"
            ]
        )  # fmt: skip
        JobEvent.objects.bulk_create(
            [JobEvent(job=job, key=key, reason=reason, at=now, message=f"by {ctx.actor}")], ignore_conflicts=True
        )
        wakeup.notify()
    return job


def jobs_cancel(*, ctx: TenantContext, job_ids: list[UUID]) -> int:
    """Cancels those of the jobs that are still live and that the actor may cancel; returns how many were asked to end."""
    asked = 0
    for job in TrainingJob.objects.of(ctx).filter(pk__in=job_ids[:200]).exclude(status__in=ENDED):
        if not ctx.can_manage(job.owner_id, job.submitted_by) or job.cancel_requested_at is not None:
            continue
        try:
            job_cancel(ctx=ctx, job_id=job.pk)
        except DomainError as exc:
            # It ended between the list and the lock; the others are still to be cancelled.
            if exc.code != "already_ended":
                raise
            continue
        asked += 1
    return asked


def rules_for(tenant: Tenant) -> job_spec.Rules:
    return job_spec.Rules(
        tenant=tenant.slug, default_image=settings.DEFAULT_TRAINING_IMAGE, local_files=settings.CLUSTER_IS_LOCAL
    )


def artifact_root(tenant: Tenant) -> str:
    """Where the tenant's jobs write unless they say otherwise."""
    return tenant.artifact_root or storage.join(settings.STORAGE_ROOT, "artifacts", tenant.slug)


def _new_job(ctx: TenantContext, spec: dict[str, Any], source: SourceArchive | None, compute: Any) -> TrainingJob:
    job_id = uuid4()
    output = spec["model_output_path"] or storage.join(artifact_root(ctx.tenant), str(job_id)) + "/"
    spec["model_output_path"] = output
    return TrainingJob(
        id=job_id,
        tenant=ctx.tenant,
        name=spec["name"],
        owner=ctx.user,
        submitted_by=ctx.actor,
        spec=spec,
        instance_type=compute if isinstance(compute, str) and compute in CATALOGUE else "",
        source=source,
        output_path=output,
    )


def _source_of(ctx: TenantContext, source_id: str | None) -> SourceArchive | None:
    if source_id is None:
        return None
    source = SourceArchive.objects.filter(tenant=ctx.tenant, pk=source_id).first()
    if source is None:
        raise invalid({"source": ["is not the id of an upload of this team; upload it with POST /v1/sources"]})
    return source
