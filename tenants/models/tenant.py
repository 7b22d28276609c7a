"""The team itself: what its namespace shall be | what stands there, and when that was seen."""

import re
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from tenants import slugs
from tenants.models.fields import ShapedJSONField


def validate_slug(value: str) -> None:
    found = slugs.problem(value)
    if found:
        raise ValidationError(f"A team's slug {found}.", code="invalid")


def validate_code(value: str) -> None:
    found = slugs.problem(value)
    if found:
        raise ValidationError(f"A cost center's code {found}.", code="invalid")


# Errors of JSON fields carry no code: a field replaces the sentence of one that it has a sentence for itself, as for "invalid".
def validate_gpu_types(value: Any) -> None:
    """A JSON object of GPU type to the most of it that a team may hold at once."""
    good = isinstance(value, dict) and all(
        isinstance(key, str) and GPU_TYPE.fullmatch(key) and type(most) is int and 0 <= most <= 100_000
        for key, most in value.items()
    )
    if not good:
        raise ValidationError('Write {"nvidia-a100": 4}: GPU types with whole numbers.')


def validate_labels(value: Any) -> None:
    """Kubernetes labels beside the platform's own."""
    if not isinstance(value, dict):
        raise ValidationError('Write {"key": "value"}.')
    validate_label_syntax(value)
    for key in value:
        if key in OWN_LABELS or key.split("/")[0].endswith(("kubernetes.io", "k8s.io")):
            raise ValidationError(f"{key} is set by the platform.")


def validate_label_syntax(value: dict[Any, Any]) -> None:
    for key, text in value.items():
        if not isinstance(key, str) or not LABEL_KEY.fullmatch(key):
            raise ValidationError(f"{key!r} is not the key of a Kubernetes label.")
        if not isinstance(text, str) or not LABEL_VALUE.fullmatch(text):
            raise ValidationError(f"{key} has no valid value of a Kubernetes label.")


GPU_TYPE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
OWN_LABELS = ("tenant", "cost-center", "managed-by")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_DOMAIN}/)?{_NAME}")
LABEL_VALUE = re.compile(rf"(?:{_NAME})?")


OBSERVED = frozenset(
    {
        "namespace_uid", "applied_digest", "applied_version", "applied_at", "apply_error", "drift_at",
        "lease_owner", "lease_until", "deleting_at", "deletion_requested_by",
    }
)  # fmt: skip


class CostCenter(models.Model):
    """Who pays. The code stands on every object in the cluster, so it does not change; the rest may."""

    code = models.CharField(max_length=63, primary_key=True, validators=[validate_code])
    name = models.CharField(max_length=100)
    monthly_budget = models.DecimalField(
        max_digits=12, decimal_places=2, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    currency = models.CharField(
        max_length=3,
        default="EUR",
        validators=[RegexValidator(r"^[A-Z]{3}\Z", "Use the three letters of ISO 4217, such as EUR.")],
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return f"{self.code} ({self.name})" if self.name and self.name != self.code else self.code


class PodSecurity(models.TextChoices):
    """The Pod Security Standard that a tenant's namespace enforces."""

    BASELINE = "baseline", "Baseline"
    RESTRICTED = "restricted", "Restricted"


class Tenant(models.Model):
    """A team: wanted namespace and quota | what was applied, and when.

    ``version`` grows with every save of what is wanted, so that a decision on quota notices a change that came in between.
    """

    slug = models.CharField(max_length=slugs.MAX_LENGTH, unique=True, validators=[validate_slug])
    name = models.CharField(max_length=100)
    cost_center = models.ForeignKey(
        CostCenter, default="unassigned", on_delete=models.PROTECT, db_column="cost_center", related_name="tenants"
    )
    artifact_root = models.CharField(
        max_length=500,
        blank=True,
        help_text="Where jobs write by default, such as s3://bucket/team. Empty: the platform's.",
    )
    pod_security = models.CharField(max_length=10, choices=PodSecurity, default=PodSecurity.BASELINE)
    labels = ShapedJSONField(
        "namespace labels", default=dict, blank=True, validators=[validate_labels], help_text="As a JSON object."
    )
    quota_cpu = models.PositiveIntegerField("CPU cores", default=100)
    quota_memory_gib = models.PositiveIntegerField("memory (GiB)", default=200)
    quota_gpus = models.PositiveIntegerField("GPUs", default=10)
    quota_gpu_types = ShapedJSONField(
        "GPUs per type",
        default=dict,
        blank=True,
        validators=[validate_gpu_types],
        help_text='Such as {"nvidia-a100": 4}. A type that is not named is limited by the GPUs in all.',
    )
    quota_gpus_per_job = models.PositiveIntegerField("GPUs per job", default=8)
    quota_jobs = models.PositiveIntegerField("running jobs", default=100)
    quota_pods = models.PositiveIntegerField("pods", default=100)
    quota_pvcs = models.PositiveIntegerField("volume claims", default=50)
    # What was granted until a date, on top: [{"until": ISO 8601, "request": id, "cpu": 200, …}], by tenants.quotas.
    grants = models.JSONField(default=list, editable=False)
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    version = models.PositiveIntegerField(default=0, editable=False)
    # Somebody asked for the team's deletion; it stands until its namespace has been seen gone.
    deleting_at = models.DateTimeField(null=True, editable=False)
    deletion_requested_by = models.CharField(max_length=150, blank=True, editable=False)

    # What was observed. Written by updates of these columns alone: see ``save``.
    namespace_uid = models.CharField(max_length=64, blank=True, editable=False)
    applied_digest = models.CharField(max_length=64, blank=True, editable=False)
    applied_version = models.PositiveIntegerField(null=True, editable=False)
    applied_at = models.DateTimeField(null=True, blank=True, editable=False)
    apply_error = models.TextField(blank=True, editable=False)
    drift_at = models.DateTimeField(null=True, editable=False)
    # Which reconciler works on the namespace, and until when nobody else does.
    lease_owner = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("slug",)
        indexes = (
            models.Index(
                fields=("id",),
                name="tenant_to_apply",
                condition=Q(deleting_at__isnull=False)
                | Q(applied_version__isnull=True)
                | ~Q(applied_version=F("version")),
            ),
        )

    def __str__(self) -> str:
        return self.slug

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A save of the whole row writes what is wanted: not what was observed since it was read, nor a deletion away."""
        changes = not self._state.adding
        if changes:
            # Counted by the database: two saves at once are two versions.
            self.version = cast(int, F("version") + 1)
            if kwargs.get("update_fields") is None:
                fields = {field.attname for field in self._meta.concrete_fields if not field.primary_key}
                kwargs["update_fields"] = fields - OBSERVED
            kwargs["update_fields"] = {*kwargs["update_fields"], "version"}
        super().save(*args, **kwargs)
        if changes:
            self.refresh_from_db(fields=["version"])

    @property
    def accepts_work(self) -> bool:
        """Whether jobs may be submitted; history is readable either way."""
        return self.is_active and self.deleting_at is None


class IdempotencyRecord(models.Model):
    """The first answer to a POST that carried an ``Idempotency-Key``; written in the transaction of what it made."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "key"), name="idempotency_key_once"),)

    def __str__(self) -> str:
        return f"{self.tenant_id}:{self.key}"


class ClusterContact(models.Model):
    """When the reconciler last had the whole cluster in view; one row a cluster."""

    name = models.CharField(max_length=50, primary_key=True, default="default")
    seen_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.name
