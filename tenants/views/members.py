"""Who is in the team; leads add, change and remove."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from platform_portal.errors import DomainError
from tenants import selectors, services
from tenants.context import TenantContext
from tenants.forms import MemberForm
from tenants.models import Role
from tenants.pages import tenant_page
from tenants.views.shared import REFUSED, asked, posted, say, team_page


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page
def members(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """The list; a POST adds somebody."""
    if request.method != "POST":
        return _page(request, ctx, MemberForm())
    ctx.require(ctx.can(Role.LEAD), "manage members")
    form = MemberForm(request.POST)
    if form.is_valid():
        try:
            added = services.member_add(ctx=ctx, **form.cleaned_data)
        except DomainError as error:
            form.refuse(error)
        else:
            messages.success(request, f"{added.user.get_username()} is in the team now, as {added.role}.")
            return redirect("tenants:members", ctx.tenant.slug)
    return _page(request, ctx, form, status=REFUSED)


@require_POST
@tenant_page
def member_role(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    name, role = posted(request, "username"), posted(request, "role")
    try:
        services.member_change(ctx=ctx, username=name, role=role)
        messages.success(request, f"{name} is {role} now.")
    except DomainError as error:
        # The list offers only its people and the roles there are: what else comes did not come from it.
        if error.http_status in (400, 403, 404):
            raise
        say(request, error)
    return redirect("tenants:members", ctx.tenant.slug)


@require_POST
@tenant_page
def member_remove(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """Takes somebody out, after a confirmation."""
    ctx.require(ctx.can(Role.LEAD), "manage members")
    name = posted(request, "username")
    question = asked(
        request,
        title=f"Remove {name} from {ctx.tenant.name}?",
        text="Their tokens for this team end at once; their jobs go on and stay here.",
        yes="Remove",
        no="Keep",
        after=f"/t/{ctx.tenant.slug}/members",
        hidden={"username": name},
    )
    if question:
        return question
    try:
        services.member_remove(ctx=ctx, username=name)
    except DomainError as error:
        if error.http_status == 403:
            raise
        say(request, error)
        return redirect("tenants:members", ctx.tenant.slug)
    messages.success(request, f"{name} is not in the team any more.")
    # Who has removed themselves has no page of this team to go to.
    is_gone = selectors.context_for_user(request.user, ctx.tenant.slug) is None  # type: ignore[arg-type]
    return redirect("home") if is_gone else redirect("tenants:members", ctx.tenant.slug)


def _page(request: HttpRequest, ctx: TenantContext, form: MemberForm, *, status: int = 200) -> HttpResponse:
    context = {
        "members": selectors.members_of(ctx),
        "roles": Role.choices,
        "may_manage": ctx.can(Role.LEAD),
        "form": form,
    }
    return team_page(request, ctx, "members", context, status=status)
