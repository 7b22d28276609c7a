"""Keys for scripts: each member their own, leads those of the team and its service accounts."""

from typing import Any
from uuid import uuid4

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from platform_portal import api
from platform_portal.errors import DomainError, not_found
from tenants import selectors, services
from tenants.context import TenantContext
from tenants.forms import ServiceAccountForm, TokenForm
from tenants.idempotency import once
from tenants.models import Role, ServiceAccount
from tenants.pages import tenant_page
from tenants.views.shared import REFUSED, asked, posted, say, team_page


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page
def tokens(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """The list; a POST makes a token and answers with its secret, this once: a reload sends the same form and gets none."""
    accounts = list(selectors.service_accounts_of(ctx))
    if request.method != "POST":
        return _page(request, ctx, accounts, _fresh(ctx, accounts))
    form = TokenForm(request.POST, ctx=ctx, accounts=accounts)
    if not form.is_valid():
        return _page(request, ctx, accounts, form, status=REFUSED)
    try:
        secret = _create(request, ctx, form)
    except DomainError as error:
        form.refuse(error)
        return _page(request, ctx, accounts, form, status=REFUSED)
    name = form.cleaned_data["name"]
    made = {"made": name, "secret": secret}
    return _page(request, ctx, list(selectors.service_accounts_of(ctx)), _fresh(ctx, accounts), **made)


@require_POST
@tenant_page
def token_revoke(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """Ends a token, after a confirmation."""
    given = posted(request, "token")
    known = {str(token.pk): token for token in selectors.tokens_of(ctx)}
    token = known.get(given)
    if token is None:
        raise not_found("token that you may revoke")
    question = asked(
        request,
        title=f"Revoke {token.name}?",
        text="Whatever uses it is refused from then on. This cannot be taken back.",
        yes="Revoke",
        no="Keep it",
        after=f"/t/{ctx.tenant.slug}/tokens",
        hidden={"token": given},
    )
    if question:
        return question
    services.token_revoke(ctx=ctx, token_id=token.pk)
    messages.success(request, f"{token.name} is revoked.")
    return redirect("tenants:tokens", ctx.tenant.slug)


@require_POST
@tenant_page
def account_create(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    ctx.require(ctx.can(Role.LEAD), "manage service accounts")
    form = ServiceAccountForm(request.POST)
    if form.is_valid():
        try:
            account = services.service_account_create(ctx=ctx, **form.cleaned_data)
        except DomainError as error:
            form.refuse(error)
        else:
            messages.success(request, f"The service account {account.name} is there; make it a token next.")
            return redirect("tenants:tokens", ctx.tenant.slug)
    accounts = list(selectors.service_accounts_of(ctx))
    return _page(request, ctx, accounts, _fresh(ctx, accounts), account_form=form, status=REFUSED)


@require_POST
@tenant_page
def account_change(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """Its role, or whether it may act at all."""
    name, role, state = (posted(request, key) for key in ("account", "role", "state"))
    wanted: dict[str, Any] = {"role": role} if role else {}
    if state in ("on", "off"):
        wanted["is_active"] = state == "on"
    try:
        services.service_account_update(ctx=ctx, name=name, **wanted)
        messages.success(request, f"The service account {name} is changed.")
    except DomainError as error:
        if error.http_status == 403:
            raise
        say(request, error)
    return redirect("tenants:tokens", ctx.tenant.slug)


@require_POST
@tenant_page
def account_delete(request: HttpRequest, ctx: TenantContext) -> HttpResponse:
    """Takes a service account away with its tokens, after a confirmation."""
    ctx.require(ctx.can(Role.LEAD), "manage service accounts")
    name = posted(request, "account")
    question = asked(
        request,
        title=f"Delete the service account {name}?",
        text="Its tokens end at once and go with it. What it submitted stays.",
        yes="Delete",
        no="Keep it",
        after=f"/t/{ctx.tenant.slug}/tokens",
        hidden={"account": name},
    )
    if question:
        return question
    try:
        services.service_account_delete(ctx=ctx, name=name)
        messages.success(request, f"The service account {name} is deleted.")
    except DomainError as error:
        say(request, error)
    return redirect("tenants:tokens", ctx.tenant.slug)


def _create(request: HttpRequest, ctx: TenantContext, form: TokenForm) -> str:
    """The new token's secret; empty when this very form has made one before."""
    values, secrets = form.cleaned_data, []

    def produce() -> tuple[int, Any]:
        token, secret = services.token_create(
            ctx=ctx,
            name=values["name"],
            kind=form.kind,
            service_account=form.account,
            scopes=values["scopes"],
            expires_in_days=values["days"],
        )
        secrets.append(secret)
        return 201, {"token": token.pk}

    told = {key: value for key, value in values.items() if key != "key"}
    once(ctx, f"page-token-{values['key']}", api.fingerprint(request, api.canonical(told)), produce)
    return secrets[0] if secrets else ""


def _fresh(ctx: TenantContext, accounts: list[ServiceAccount]) -> TokenForm:
    return TokenForm(ctx=ctx, accounts=accounts, initial={"key": uuid4()})


def _page(
    request: HttpRequest,
    ctx: TenantContext,
    accounts: list[ServiceAccount],
    form: TokenForm,
    *,
    account_form: ServiceAccountForm | None = None,
    made: str = "",
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    found = selectors.tokens_of(ctx)
    context = {
        "tokens": [(token, selectors.may_revoke(ctx, token)) for token in found],
        "accounts": accounts,
        "roles": Role.choices,
        "may_manage": ctx.can(Role.LEAD),
        "form": form,
        "account_form": account_form or ServiceAccountForm(),
        "made": made,
        "secret": secret,
    }
    return team_page(request, ctx, "tokens", context, status=status)
