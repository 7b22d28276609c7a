"""What a team holds at the moment, and its wishes for more."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from tenants.models.tenant import Tenant


class QuotaUsage(models.Model):
    """What the team's admitted live work asks for, and how much of it waits; a submission locks this row and decides by it.

    Kept by triggers in the database, in the transaction of every change of a row that counts, whoever makes it. A change of the
    tenant's quota takes the row's lock too, so that it is either before a submission's decision or after it.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, primary_key=True, related_name="usage")
    cpu = models.IntegerField(default=0)
    memory_gb = models.IntegerField(default=0)
    gpus = models.IntegerField(default=0)
    gpu_types = models.JSONField(default=dict)
    pods = models.IntegerField(default=0)
    jobs = models.IntegerField(default=0)
    waiting = models.IntegerField(default=0)
    # The tenant's version: limits that were computed from another one are not decided by.
    tenant_version = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"usage of {self.tenant_id}"


class QuotaRequest(models.Model):
    """A wish for more quota, with its reason, and what became of it."""

    class Status(models.TextChoices):
        PENDING = "pending", "Awaiting a decision"
        GRANTED = "granted", "Granted"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="quota_requests")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="quota_requests"
    )
    # Resource (tenants.quotas.RESOURCES) to the limit that is wanted, and what it was when it was asked for.
    wanted = models.JSONField()
    current = models.JSONField(default=dict)
    reason = models.TextField(max_length=2000)
    created_at = models.DateTimeField(default=timezone.now)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    granted = models.JSONField(null=True, blank=True)
    until = models.DateField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="quota_decisions"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decision_note = models.TextField(max_length=2000, blank=True)

    class Meta:
        indexes = (models.Index(fields=("status", "-created_at"), name="quota_request_open"),)
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.tenant} asks for more"
