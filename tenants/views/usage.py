"""What the team holds and may hold, who holds it, what it costs, and its wishes for more."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from platform_portal.errors import DomainError
from tenants import holdings, selectors, services
from tenants.context import TenantContext
from tenants.forms import QuotaRequestForm
from tenants.models import QuotaRequest, Role
from tenants.pages import tenant_page
from tenants.views.shared import REFUSED, asked, say

HOURS_A_MONTH = 730


@require_safe
@tenant_page
def usage(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    return _page(request, ctx, QuotaRequestForm(ctx=ctx))


@require_POST
@tenant_page
def request_create(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """Asks for more quota."""
    ctx.require(ctx.can_submit, "ask for more quota")
    form = QuotaRequestForm(request.POST, ctx=ctx)
    if form.is_valid():
        try:
            services.quota_request_create(ctx=ctx, wanted=form.wanted, reason=form.cleaned_data["reason"])
        except DomainError as error:
            form.refuse(error)
        else:
            messages.success(request, "The platform admins are asked; you are told what they decide.")
            return redirect(reverse("tenants:usage", args=[ctx.tenant.slug]) + "#requests")
    return _page(request, ctx, form, status=REFUSED)


@require_POST
@tenant_page
def request_withdraw(request: HttpRequest, ctx: TenantContext, request_id: int) -> HttpResponse:
    """Takes a request back, after a confirmation."""
    ctx.require(ctx.can(Role.MEMBER), "withdraw this request")
    after = reverse("tenants:usage", args=[ctx.tenant.slug]) + "#requests"
    question = asked(
        request,
        title="Withdraw the request?",
        text="Nobody decides on it then; you can ask again.",
        yes="Withdraw",
        no="Keep it",
        after=after,
        hidden={},
    )
    if question:
        return question
    try:
        services.quota_request_withdraw(ctx=ctx, request_id=request_id)
        messages.success(request, "The request is withdrawn.")
    except DomainError as error:
        if error.http_status in (403, 404):
            raise
        say(request, error)
    return redirect(after)


def _page(request: HttpRequest, ctx: TenantContext, form: QuotaRequestForm, *, status: int = 200) -> HttpResponse:
    found = selectors.usage_of(ctx, timezone.now())
    held = holdings.of(ctx)
    context = {
        "usage": found,
        "held": held,
        "requests": [(one, _may_withdraw(ctx, one)) for one in selectors.quota_requests_of(ctx)],
        "cost_center": selectors.cost_center_of(ctx),
        "currency": settings.PRICE_CURRENCY,
        "monthly": held.hourly * HOURS_A_MONTH,
        "form": form,
        "may_ask": ctx.can_submit,
    }
    return render(request, "tenants/usage.html", context, status=status)


def _may_withdraw(ctx: TenantContext, request: QuotaRequest) -> bool:
    is_own = ctx.user is not None and request.requested_by_id == ctx.user.pk
    return request.status == QuotaRequest.Status.PENDING and (ctx.can(Role.LEAD) or (is_own and ctx.can(Role.MEMBER)))
