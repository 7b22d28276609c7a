"""Which instance types a team may use."""

from django.db.models import Q

from tenants.context import TenantContext
from tenants.models import InstanceType


def instance_types(ctx: TenantContext) -> list[InstanceType]:
    """Those on offer to the context's team, in the administrator's order. One query."""
    named = InstanceType.tenants.through.objects.filter(tenant=ctx.tenant).values("instancetype_id")
    offered = InstanceType.objects.filter(is_active=True)
    return list(offered.filter(Q(tenants__isnull=True) | Q(pk__in=named)).order_by("order", "name").distinct())
