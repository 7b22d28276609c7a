"""What training jobs hold of a team's quota, and which wait for it: for the team's usage page, by ``tenants.holdings``."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum
from django.urls import reverse

from jobs.models import LIVE, TrainingJob
from tenants.context import TenantContext
from tenants.holdings import Holdings, Person, Work

COLUMNS = (
    "id", "name", "submitted_by", "status", "created_at", "admitted_at", "cpu_cores", "memory_gb", "gpu_count", "gpu_type",
    "price_per_hour",
)  # fmt: skip


def training_jobs(ctx: TenantContext, most: int) -> Holdings:
    """Three queries, whatever the number of jobs. A price of nothing is one that nobody has set."""
    live = TrainingJob.objects.of(ctx).filter(status__in=LIVE, admitted_at__isnull=False)
    priced = Q(price_per_hour__gt=0)
    people = list(
        live.order_by()
        .values("submitted_by")
        .annotate(
            pieces=Count("pk"),
            cpu=Sum("cpu_cores"),
            memory=Sum("memory_gb"),
            gpus=Sum("gpu_count"),
            hourly=Sum("price_per_hour", filter=priced),
            priced=Count("pk", filter=priced),
        )
    )
    pieces = sum(one["pieces"] for one in people)
    return Holdings(
        held=[_work(ctx, job) for job in live.only(*COLUMNS).order_by("admitted_at", "id")[:most]],
        waiting=[_work(ctx, job) for job in TrainingJob.objects.of(ctx).waiting().only(*COLUMNS)[:most]],
        people=[_person(one) for one in people],
        pieces=pieces,
        hourly=sum((one["hourly"] or Decimal(0) for one in people), Decimal(0)),
        unpriced=pieces - sum(one["priced"] for one in people),
    )


def _person(one: Mapping[str, Any]) -> Person:
    return Person(one["submitted_by"], one["pieces"], one["cpu"], one["memory"], one["gpus"])


def _work(ctx: TenantContext, job: TrainingJob) -> Work:
    return Work(
        kind="training job",
        name=job.name,
        url=reverse("jobs:detail", args=[ctx.tenant.slug, job.pk]),
        who=job.submitted_by,
        state=job.get_status_display().lower(),
        since=job.admitted_at or job.created_at,
        cpu=job.cpu_cores,
        memory_gb=job.memory_gb,
        gpus=job.gpu_count,
        gpu_type=job.gpu_type,
        price_per_hour=job.price_per_hour,
    )
