"""Reads for platform admins: all teams and cost centers; and of one's own team what the platform knows of it."""

from platform_portal.errors import forbidden, not_found
from tenants.context import TenantContext
from tenants.models import CostCenter, Tenant


def require_platform_admin(ctx: TenantContext) -> None:
    if not ctx.is_platform_admin:
        raise forbidden("This is for platform admins: with a personal token of theirs that has the admin scope.")


def platform_tenants(ctx: TenantContext, *, limit: int, after: str) -> tuple[list[Tenant], bool]:
    """A page of all teams by slug, behind ``after``; and whether there are more."""
    require_platform_admin(ctx)
    found = list(Tenant.objects.filter(slug__gt=after).order_by("slug")[: limit + 1])
    return found[:limit], len(found) > limit


def platform_tenant(ctx: TenantContext, slug: str) -> Tenant:
    """The context's own team, or for a platform admin any."""
    if slug == ctx.tenant.slug:
        return ctx.tenant
    if not ctx.is_platform_admin:
        raise forbidden(f"This token acts for {ctx.tenant.slug}, not for {slug}.", "tenant_mismatch")
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise not_found("team")
    return tenant


def platform_cost_centers(ctx: TenantContext) -> list[CostCenter]:
    require_platform_admin(ctx)
    return list(CostCenter.objects.order_by("code"))
