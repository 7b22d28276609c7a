"""Writes of training jobs. Each is one transaction; none waits for the cluster."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, Func
from django.utils import timezone

from jobs import insert, quota
from jobs import spec as job_spec
from jobs.insert import Inserted
from jobs.models import ENDED, JobEvent, SourceArchive, Status, TrainingJob
from jobs.reasons import QUEUED_FOR_QUOTA
from platform_portal import storage, wakeup
from platform_portal.errors import DomainError, conflict, forbidden, invalid, not_found
from tenants import audit, quotas
from tenants.context import TenantContext
from tenants.models import InstanceType, QuotaUsage, Role, Tenant
from tenants.selectors.catalogue import instance_types
from tenants.wishes import artifact_root


def job_submit(*, ctx: TenantContext, payload: Mapping[str, Any]) -> TrainingJob:
    """Accepts a training job, or raises ``DomainError`` with everything that is wrong and leaves nothing behind.

    What fits the team's quota is admitted; what does not waits in the team's queue if it asked for that, and raises
    ``QuotaExceeded`` otherwise. Two submissions of one name meet at the unique constraint: one is a job, the other a conflict.
    """
    job = job_checked(ctx=ctx, payload=payload)
    room = quotas.room_for(quotas.limits_of(ctx.tenant, job.created_at), job.ask)
    inserted = Inserted.UNDECIDED
    if room is not None:
        inserted = insert.job_insert(job, room, ctx.tenant.version, _entry(ctx, job))
    if inserted is Inserted.UNDECIDED:
        inserted = _submit_under_lock(ctx, job)
    if inserted is Inserted.NAME_TAKEN:
        raise _name_taken(ctx, job.name)
    if not job.waits:
        wakeup.notify()
    return job


def submit_preview(*, ctx: TenantContext, payload: Mapping[str, Any]) -> quota.Preview:
    """What ``job_submit`` would say at this moment, errors included; makes nothing."""
    job = job_checked(ctx=ctx, payload=payload)
    if TrainingJob.objects.of(ctx).filter(name=job.name).exists():
        raise _name_taken(ctx, job.name)
    return quota.quota_preview(ctx, job.spec["compute"], priority=job.priority, now=job.created_at)


def job_checked(*, ctx: TenantContext, payload: Mapping[str, Any]) -> TrainingJob:
    """The job that the payload asks for, not yet written, or ``DomainError`` with everything that is wrong with it."""
    ctx.require(ctx.can_submit, "submit jobs")
    types = _types_for(ctx, payload)
    spec, errors = job_spec.clean(payload, _rules(ctx.tenant, types))
    if "tenant_id" not in errors and spec["tenant_id"] != ctx.tenant.slug:
        raise forbidden(
            f"This token or page acts for {ctx.tenant.slug}; tenant_id must be the same.", "tenant_mismatch"
        )
    if errors:
        raise invalid(errors)
    if spec["priority"] > 0 and not ctx.can(Role.LEAD):
        sentence = "above 0 is for leads of the team; use 0 or less"
        message = "Your role does not allow you to put a job before others: priority must be 0 or less."
        raise DomainError("permission_denied", message, http_status=403, fields={"priority": [sentence]})
    source = _source_of(ctx, spec["source"])
    compute = payload.get("compute")
    return _new_job(ctx, spec, source, types.get(compute) if isinstance(compute, str) else None)


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
        audit.record(ctx, "job.cancel", target=job.name, target_id=job.pk)
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


def rules_for(ctx: TenantContext, payload: Mapping[str, Any]) -> job_spec.Rules:
    """What the rules of a spec depend on; asks for the team's instance types only when the payload names one."""
    return _rules(ctx.tenant, _types_for(ctx, payload))


def _submit_under_lock(ctx: TenantContext, job: TrainingJob) -> Inserted:
    """Decides with everything in sight, after the lock: an end, a quota or a queue that has changed meanwhile counts."""
    with transaction.atomic():
        usage = QuotaUsage.objects.select_for_update().filter(tenant=ctx.tenant).first()
        # Read after the lock was had. The database's clock orders the queue, whichever process a job came from.
        tenant = Tenant.objects.annotate(read_at=_CLOCK).filter(pk=ctx.tenant.pk).first()
        if usage is None or tenant is None:
            raise not_found("team")
        now: datetime = tenant.read_at
        ctx = replace(ctx, tenant=tenant)
        ctx.require(ctx.can_submit, "submit jobs")
        limits = quotas.limits_of(tenant, now)
        ahead = quota.waiting_before(tenant.pk, limits, job.priority) if usage.waiting else 0
        verdict = quotas.decide(limits, quotas.held_of(usage), job.ask, waiting=ahead)
        if verdict.outcome is not quotas.Outcome.NOW:
            if verdict.outcome is quotas.Outcome.NEVER or not job.queue:
                raise quota.QuotaExceeded(verdict)
            job.admitted_at, job.next_check_at, job.created_at = None, None, now
            job.reason, job.queue_position = QUEUED_FOR_QUOTA, ahead + 1
        return insert.job_insert_decided(job, _entry(ctx, job))


def _entry(ctx: TenantContext, job: TrainingJob) -> dict[str, Any]:
    after = {"compute": job.instance_type or job.spec["compute"], "priority": job.priority, "waits": job.waits}
    return audit.entry(ctx, "job.submit", None, job.name, job.pk, None, after)


def _name_taken(ctx: TenantContext, name: str) -> DomainError:
    sentence = "is the name of another job of this team; choose another"
    return conflict("name_taken", f"The name {name!r} is taken in {ctx.tenant.slug}.", {"name": [sentence]})


def _types_for(ctx: TenantContext, payload: Mapping[str, Any]) -> dict[str, InstanceType]:
    return {one.name: one for one in instance_types(ctx)} if isinstance(payload.get("compute"), str) else {}


def _rules(tenant: Tenant, types: Mapping[str, InstanceType]) -> job_spec.Rules:
    return job_spec.Rules(
        tenant=tenant.slug,
        default_image=settings.DEFAULT_TRAINING_IMAGE,
        local_files=settings.CLUSTER_IS_LOCAL,
        instance_types={name: one.compute for name, one in types.items()},
    )


def _new_job(
    ctx: TenantContext, spec: dict[str, Any], source: SourceArchive | None, machine: InstanceType | None
) -> TrainingJob:
    job_id, now = uuid4(), timezone.now()
    output = spec["model_output_path"] or storage.join(artifact_root(ctx.tenant), str(job_id)) + "/"
    spec["model_output_path"] = output
    compute = spec["compute"]
    return TrainingJob(
        id=job_id,
        tenant=ctx.tenant,
        name=spec["name"],
        owner=ctx.user,
        submitted_by=ctx.actor,
        created_at=now,
        queue=spec.pop("queue"),
        priority=spec.pop("priority"),
        spec=spec,
        instance_type=machine.name if machine else "",
        cpu_cores=compute["cpu_cores"],
        memory_gb=compute["memory_gb"],
        gpu_count=compute.get("gpu_count") or 0,
        gpu_type=compute.get("gpu_type") or "",
        price_per_hour=machine.price_per_hour if machine else None,
        placement={"node_selector": machine.node_selector, "tolerations": machine.tolerations} if machine else {},
        source=source,
        output_path=output,
        admitted_at=now,
    )


def _source_of(ctx: TenantContext, source_id: str | None) -> SourceArchive | None:
    if source_id is None:
        return None
    source = SourceArchive.objects.filter(tenant=ctx.tenant, pk=source_id).first()
    if source is None:
        raise invalid({"source": ["is not the id of an upload of this team; upload it with POST /v1/sources"]})
    return source


_CLOCK: Func = Func(function="clock_timestamp", output_field=DateTimeField())
