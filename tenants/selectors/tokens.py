"""Which tokens and service accounts the actor may see."""

from datetime import timedelta

from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from platform_portal.errors import not_found
from tenants.context import TenantContext
from tenants.models import ApiToken, Role, ServiceAccount

# How long a token that has ended is still listed: long enough to find out why a script stopped working.
ENDED_SHOWN = timedelta(days=30)


def tokens_of(ctx: TenantContext) -> list[ApiToken]:
    """Leads see all of the team's, a person and a service account their own, another token itself; newest first.

    With what each acts for loaded. What ended more than ``ENDED_SHOWN`` ago is in the audit log only.
    """
    since = timezone.now() - ENDED_SHOWN
    ended = Q(revoked_at__lt=since) | Q(expires_at__lt=since)
    found = ApiToken.objects.filter(_visible(ctx), tenant=ctx.tenant).exclude(ended)
    return list(
        found.select_related("tenant", "user", "service_account", "created_by").order_by(
            F("revoked_at").asc(nulls_first=True), "-created_at", "-pk"
        )
    )


def may_revoke(ctx: TenantContext, token: ApiToken) -> bool:
    """Leads any of the team's, a person their own, and each token itself: whoever finds one can end it."""
    if ctx.can(Role.LEAD) or (ctx.token is not None and ctx.token.pk == token.pk):
        return True
    return ctx.user is not None and token.user_id == ctx.user.pk and "admin" in ctx.scopes


def service_accounts_of(ctx: TenantContext) -> QuerySet[ServiceAccount]:
    """The team's, by name, each with ``live_tokens``; everybody in the team may see them."""
    now = timezone.now()
    live = Q(tokens__revoked_at=None) & (Q(tokens__expires_at=None) | Q(tokens__expires_at__gt=now))
    return (
        ServiceAccount.objects.filter(tenant=ctx.tenant)
        .select_related("created_by")
        .annotate(live_tokens=Count("tokens", filter=live))
        .order_by("name")
    )


def service_account_get(ctx: TenantContext, name: str) -> ServiceAccount:
    account = service_accounts_of(ctx).filter(name=name).first()
    if account is None:
        raise not_found("service account")
    return account


def _visible(ctx: TenantContext) -> Q:
    if ctx.can(Role.LEAD):
        return Q()
    if ctx.user is not None:
        return Q(user=ctx.user)
    if ctx.service_account is not None:
        return Q(service_account=ctx.service_account)
    return Q(pk=ctx.token.pk if ctx.token else None)
