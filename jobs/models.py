"""Training jobs: what is wanted | what was observed, when, and by whose lease; and what hangs on them.

A foreign key has no index of its own where a constraint or an index begins with the same column: each index is paid for by
every submission.
"""

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from platform_portal import names
from tenants.models import Tenant
from tenants.quotas import Ask

if TYPE_CHECKING:
    from tenants.context import TenantContext


class Status(models.TextChoices):
    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
LIVE = (Status.PENDING, Status.RUNNING)


class SourceArchive(models.Model):
    """Code that a user uploaded; the bytes lie in the storage under the digest."""

    class Kind(models.TextChoices):
        ZIP = "zip"
        TAR = "tar.gz"
        FILE = "py"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    kind = models.CharField(max_length=6, choices=Kind)
    filename = models.CharField(max_length=255)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.filename


class TrainingJobQuerySet(models.QuerySet["TrainingJob"]):
    def of(self, ctx: "TenantContext") -> "TrainingJobQuerySet":
        """The jobs of the context's tenant: how every page and API call begins."""
        return self.filter(tenant=ctx.tenant)

    def waiting(self) -> "TrainingJobQuerySet":
        """Those in a team's queue, the next one first."""
        return self.filter(status__in=LIVE, admitted_at__isnull=True).order_by("-priority", "created_at", "id")


class TrainingJob(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="training_jobs", db_index=False)
    name = models.CharField(max_length=50)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    submitted_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)

    # What is wanted
    spec = models.JSONField()
    instance_type = models.CharField(max_length=50, blank=True)
    source = models.ForeignKey(SourceArchive, null=True, on_delete=models.PROTECT)
    output_path = models.CharField(max_length=2000)
    # What it counts for in the quota, and where it may run: a snapshot, whatever becomes of its instance type.
    cpu_cores = models.PositiveSmallIntegerField()
    memory_gb = models.PositiveIntegerField()
    gpu_count = models.PositiveSmallIntegerField(default=0)
    gpu_type = models.CharField(max_length=63, blank=True)
    pods = models.PositiveSmallIntegerField(default=1)
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4, null=True)
    # {"node_selector": {}, "tolerations": []}
    placement = models.JSONField(default=dict)
    # Whether it may wait in the team's queue, and since when it holds quota; while that is null and it is live, it waits.
    queue = models.BooleanField(default=False)
    priority = models.SmallIntegerField(default=0)
    admitted_at = models.DateTimeField(null=True, default=timezone.now)
    cancel_requested_at = models.DateTimeField(null=True)
    cancelled_by = models.CharField(max_length=150, blank=True)

    # What was observed
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    reason = models.CharField(max_length=40, default="Queued")
    error_message = models.TextField(blank=True)
    exit_code = models.IntegerField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    kubernetes_job_name = models.CharField(max_length=63, blank=True)
    cluster_uid = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    observed_at = models.DateTimeField(null=True)
    metrics = models.JSONField(default=dict)

    # Who is working on it. ``version`` grows with each write of the reconciler or a cancel, so a stale one is seen.
    version = models.IntegerField(default=0)
    lease_owner = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(null=True, default=timezone.now)
    failures = models.PositiveSmallIntegerField(default=0)

    # Its place in the team's queue from 1 on, where a selector has looked it up; no column.
    queue_position: int | None = None

    objects = TrainingJobQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "name"), name="job_name_once_in_tenant"),)
        indexes = (
            models.Index(fields=("tenant", "-created_at", "-id"), name="job_newest"),
            models.Index(fields=("tenant", "status", "-created_at", "-id"), name="job_newest_by_status"),
            models.Index(fields=("tenant", "submitted_by", "-created_at", "-id"), name="job_newest_by_owner"),
            models.Index(fields=("tenant", "-created_at", "-id"), name="job_live", condition=Q(status__in=LIVE)),
            models.Index(
                fields=("tenant", "-priority", "created_at", "id"),
                name="job_waiting",
                condition=Q(status__in=LIVE, admitted_at__isnull=True),
            ),
            models.Index(fields=("next_check_at",), name="job_due", condition=Q(next_check_at__isnull=False)),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def waits(self) -> bool:
        """Whether it stands in the team's queue and holds nothing yet."""
        return self.admitted_at is None and not self.ended

    @property
    def ask(self) -> Ask:
        """What it counts for in the team's quota."""
        return Ask(
            cpu=self.cpu_cores,
            memory_gb=self.memory_gb,
            gpus=self.gpu_count,
            gpu_type=self.gpu_type,
            pods=self.pods,
        )

    @property
    def namespace(self) -> str:
        return names.namespace(self.tenant.slug)

    @property
    def pod_selector(self) -> str:
        return f"{names.JOB_ID_LABEL}={self.id}"


class JobEvent(models.Model):
    """One line of a job's timeline. ``key`` names what it tells, so that telling it again changes nothing."""

    class Source(models.TextChoices):
        PLATFORM = "platform"
        KUBERNETES = "kubernetes"

    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="events", db_index=False)
    key = models.CharField(max_length=100)
    at = models.DateTimeField(default=timezone.now)
    source = models.CharField(max_length=10, choices=Source, default=Source.PLATFORM)
    level = models.CharField(max_length=7, default="info")
    reason = models.CharField(max_length=100)
    message = models.TextField(blank=True)
    count = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("job", "key"), name="job_event_once"),)
        indexes = (models.Index(fields=("job", "at", "id"), name="job_timeline"),)

    def __str__(self) -> str:
        return self.reason


class JobLog(models.Model):
    """How far a job's log has been copied; the bytes stand in ``JobLogChunk``."""

    job = models.OneToOneField(TrainingJob, on_delete=models.CASCADE, primary_key=True, related_name="log")
    size = models.BigIntegerField(default=0)
    pod = models.CharField(max_length=253, blank=True)
    position = models.JSONField(null=True)
    complete = models.BooleanField(default=False)
    wanted_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    failures = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes = (models.Index(fields=("due_at",), name="job_log_due", condition=Q(due_at__isnull=False)),)

    def __str__(self) -> str:
        return f"log of {self.job_id}"


class JobLogChunk(models.Model):
    """Bytes of a log from ``offset`` on; the unique offset keeps two writers from appending twice."""

    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="log_chunks", db_index=False)
    offset = models.BigIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("job", "offset"), name="job_log_offset_once"),)

    def __str__(self) -> str:
        return f"{self.job_id}@{self.offset}"


class MetricPoint(models.Model):
    """One value of one metric at one step; reporting a step again replaces it."""

    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="metric_points", db_index=False)
    name = models.CharField(max_length=100)
    step = models.BigIntegerField()
    value = models.FloatField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("job", "name", "step"), name="metric_step_once"),)

    def __str__(self) -> str:
        return f"{self.name}@{self.step}"


class SubmissionTally(models.Model):
    """How many jobs a tenant has submitted, in shards: two submissions at once must not wait for one row to be written."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False)
    shard = models.PositiveSmallIntegerField()
    count = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "shard"), name="tally_shard_once"),)

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.shard}"


class JobDuration(models.Model):
    """How long ended jobs took, as a Prometheus histogram: one row per tenant, status and upper bound (seconds)."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False)
    status = models.CharField(max_length=10, choices=Status)
    counts = models.JSONField(default=list)
    total_seconds = models.FloatField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "status"), name="duration_once"),)

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.status}"
