"""Brings a tenant's namespace into the cluster, by server-side apply: repeating it changes nothing."""

from datetime import datetime

from django.conf import settings

from platform_portal.kube.cluster import Cluster
from tenants import manifests
from tenants.models import Tenant


def wish_of(tenant: Tenant) -> manifests.TenantWish:
    return manifests.TenantWish(
        slug=tenant.slug,
        cost_center=str(tenant.cost_center_id),
        pod_security=tenant.pod_security,
        cpu=tenant.quota_cpu,
        memory_gib=tenant.quota_memory_gib,
        gpus=tenant.quota_gpus,
        pvcs=tenant.quota_pvcs,
        pods=tenant.quota_pods,
        gpu_resource=settings.GPU_RESOURCE,
    )


def tenant_apply(*, tenant: Tenant, cluster: Cluster, now: datetime) -> None:
    """Applies every object of the tenant; raises ``kube.errors`` when the cluster does not take one."""
    wish = wish_of(tenant)
    for obj in manifests.objects(wish):
        cluster.apply(obj)
    Tenant.objects.filter(pk=tenant.pk).update(applied_digest=manifests.digest(wish), applied_at=now)
