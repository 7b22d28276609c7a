"""Which wishes for more quota a team has, and what became of them."""

from platform_portal.errors import not_found
from tenants.context import TenantContext
from tenants.models import QuotaRequest

SHOWN = 50


def quota_requests_of(ctx: TenantContext, limit: int = SHOWN) -> list[QuotaRequest]:
    """The team's newest, those that await a decision among them."""
    found = QuotaRequest.objects.filter(tenant=ctx.tenant).select_related("requested_by", "decided_by")
    return list(found.order_by("-created_at", "-pk")[:limit])


def quota_request_get(ctx: TenantContext, request_id: int) -> QuotaRequest:
    """One of the team's, or a 404."""
    found = QuotaRequest.objects.filter(tenant=ctx.tenant, pk=request_id)
    request = found.select_related("requested_by", "decided_by").first()
    if request is None:
        raise not_found("quota request in this team")
    return request
