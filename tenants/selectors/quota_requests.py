"""Which wishes for more quota a team has, and what became of them."""

from tenants.context import TenantContext
from tenants.models import QuotaRequest

SHOWN = 50


def quota_requests_of(ctx: TenantContext, limit: int = SHOWN) -> list[QuotaRequest]:
    """The team's newest, those that await a decision among them."""
    found = QuotaRequest.objects.filter(tenant=ctx.tenant).select_related("requested_by", "decided_by")
    return list(found.order_by("-created_at", "-pk")[:limit])
