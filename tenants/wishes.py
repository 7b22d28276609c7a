"""From a team's row to what shall stand in the cluster at this moment, and how far that has come."""

from datetime import datetime

from django.conf import settings
from django.utils import timezone

from platform_portal import storage
from tenants import manifests, quotas
from tenants.models import Tenant

CREATING, READY, CHANGING, ERROR, DELETING = "creating", "ready", "changing", "error", "deleting"


def wish_of(tenant: Tenant, now: datetime | None = None) -> manifests.TenantWish:
    """The limits are those that hold at ``now``: grants run out."""
    limits = quotas.limits_of(tenant, now or timezone.now())
    return manifests.TenantWish(
        slug=tenant.slug,
        cost_center=str(tenant.cost_center_id),
        pod_security=tenant.pod_security,
        cpu=limits.cpu,
        memory_gib=limits.memory_gb,
        gpus=limits.gpus,
        pvcs=limits.pvcs,
        pods=limits.pods,
        gpu_resource=settings.GPU_RESOURCE,
        labels=tenant.labels,
        pod_security_version=settings.POD_SECURITY_VERSION,
        portal=settings.PLATFORM_INTERNAL_URL,
        denied_networks=settings.EGRESS_DENIED_NETWORKS,
    )


def state_of(tenant: Tenant, now: datetime) -> str:
    """What a person is told of the namespace; ``apply_error`` says more of an error."""
    if tenant.deleting_at is not None:
        return DELETING
    if tenant.apply_error:
        return ERROR
    if tenant.applied_at is None:
        return CREATING
    return READY if tenant.applied_digest == manifests.digest(wish_of(tenant, now)) else CHANGING


def artifact_root(tenant: Tenant) -> str:
    """Where the tenant's jobs write unless they say otherwise."""
    return tenant.artifact_root or storage.join(settings.STORAGE_ROOT, "artifacts", tenant.slug)
