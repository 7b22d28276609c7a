"""Teams (tenants), who belongs to them, and the tokens by which scripts act for them."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from tenants import slugs


def validate_slug(value: str) -> None:
    found = slugs.problem(value)
    if found:
        raise ValidationError(f"A team's slug {found}.", code="invalid")


class PodSecurity(models.TextChoices):
    """The Pod Security Standard that a tenant's namespace enforces."""

    BASELINE = "baseline", "Baseline"
    RESTRICTED = "restricted", "Restricted"


class Tenant(models.Model):
    """A team: wanted namespace and quota | what was applied, and when."""

    slug = models.CharField(max_length=slugs.MAX_LENGTH, unique=True, validators=[validate_slug])
    name = models.CharField(max_length=100)
    cost_center = models.CharField(max_length=63, default="unassigned", validators=[validate_slug])
    artifact_root = models.CharField(
        max_length=500,
        blank=True,
        help_text="Where jobs write by default, such as s3://bucket/team. Empty: the platform's.",
    )
    pod_security = models.CharField(max_length=10, choices=PodSecurity, default=PodSecurity.BASELINE)
    quota_cpu = models.PositiveIntegerField("CPU cores", default=100)
    quota_memory_gib = models.PositiveIntegerField("memory (GiB)", default=200)
    quota_gpus = models.PositiveIntegerField("GPUs", default=10)
    quota_pvcs = models.PositiveIntegerField("volume claims", default=50)
    quota_pods = models.PositiveIntegerField("pods", default=100)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    applied_digest = models.CharField(max_length=64, blank=True, editable=False)
    applied_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class Role(models.TextChoices):
    """What a member may do: a viewer reads, a member submits and manages their own, a lead manages the team's."""

    VIEWER = "viewer", "Viewer"
    MEMBER = "member", "Member"
    LEAD = "lead", "Lead"


class Membership(models.Model):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "user"), name="membership_once"),)
        ordering = ("tenant", "user")

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant} as {self.role}"


class ApiToken(models.Model):
    """A team's key for scripts. Only its SHA-256 is kept: the key is random and long, so a slow hash would add nothing."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    is_demo = models.BooleanField(default=False, editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("tenant", "name")

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"


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
