"""What the team is, to read; a platform admin changes it in the administration."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from platform_portal import names
from tenants.context import TenantContext
from tenants.pages import tenant_page
from tenants.views.shared import team_page


@require_safe
@tenant_page
def settings_page(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    tenant = ctx.tenant
    context = {
        "tenant": tenant,
        "namespace": names.namespace(tenant.slug),
        "namespace_state": _namespace_state(ctx),
        "admin_url": f"/admin/tenants/tenant/{tenant.pk}/change/" if ctx.is_platform_admin else "",
    }
    return team_page(request, ctx, "settings", context)


def _namespace_state(ctx: TenantContext) -> str:
    tenant = ctx.tenant
    if tenant.deleting_at:
        return "is being deleted with everything in it"
    if tenant.apply_error:
        return "could not be brought to what is wanted"
    if tenant.applied_at is None:
        return "is not there yet; it is made with the first contact to the cluster"
    return "stands as wanted"
