"""Which team an address is about, and who may ask there."""

from typing import cast

from rest_framework.request import Request
from rest_framework.views import APIView

from platform_portal.errors import forbidden
from tenants.context import TenantContext
from tenants.selectors.contexts import context_elsewhere


def context_at(ctx: TenantContext, slug: str) -> TenantContext:
    """The context for the team that the address names: the token's own; a platform admin's, any. Else a 403."""
    if slug == ctx.tenant.slug:
        return ctx
    if ctx.is_platform_admin and (elsewhere := context_elsewhere(ctx, slug)) is not None:
        return elsewhere
    raise forbidden(f"This token acts for {ctx.tenant.slug}, not for {slug}.", "tenant_mismatch")


class TeamView(APIView):
    """A view below ``/v1/tenants/{slug}``."""

    def ctx_of(self, request: Request, slug: str) -> TenantContext:
        return context_at(cast(TenantContext, request.auth), slug)
