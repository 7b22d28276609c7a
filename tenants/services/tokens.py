"""Writes: the keys by which scripts act. Nobody gives a token more than they have themselves."""

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from platform_portal import safejson
from platform_portal.errors import forbidden, invalid, not_found
from tenants import audit
from tenants.context import TenantContext
from tenants.models import SCOPES, ApiToken, Role, ServiceAccount, Tenant
from tenants.selectors.contexts import PREFIXES, token_digest
from tenants.selectors.tokens import may_revoke

if TYPE_CHECKING:
    from django.contrib.auth.models import User

KINDS = ("team", "personal", "service")
DEFAULT_DAYS = 90
NAME_MAX = 100
USED_EVERY = timedelta(minutes=1)
USED = """
UPDATE tenants_apitoken SET last_used_at = %s, last_used_from = %s WHERE id = (
    SELECT id FROM tenants_apitoken WHERE id = %s AND (last_used_at IS NULL OR last_used_at <= %s) FOR UPDATE SKIP LOCKED
)
"""
# What a role can use at all: a scope beyond it would be an empty promise.
OF_ROLE = {
    Role.VIEWER: frozenset({"read"}),
    Role.MEMBER: frozenset({"read", "submit", "deploy"}),
    Role.LEAD: frozenset(SCOPES),
}


def token_create(
    *,
    ctx: TenantContext | None = None,
    name: str,
    kind: str = "team",
    service_account: ServiceAccount | str | None = None,
    scopes: Iterable[str] | None = None,
    expires_in_days: int | None = DEFAULT_DAYS,
    tenant: Tenant | None = None,
    created_by: "User | None" = None,
) -> tuple[ApiToken, str]:
    """Makes a token; the second value is the secret, to be shown once and kept nowhere.

    ``scopes`` are by default all that may be given. With ``tenant`` instead of ``ctx`` it is the platform itself that makes a
    team's token, with every scope and without an end.
    """
    if ctx is None:
        if tenant is None:
            raise TypeError("token_create needs ctx or tenant")
        return _store(audit.actor_of(created_by), tenant, {"name": name, "created_by": created_by})
    errors = _problems_of_name(name)
    account = _account(ctx, kind, service_account, errors)
    _require(ctx, kind)
    most = _grantable(ctx, kind, account)
    wanted = _scopes(scopes, most, errors)
    if (days := _days(expires_in_days)) is None:
        errors["expires_in_days"] = [f"must be a whole number from 1 to {settings.TOKEN_MAX_DAYS}"]
    if errors:
        raise invalid(errors)
    if excess := [scope for scope in wanted if scope not in most]:
        raise forbidden(_too_much(ctx, kind, excess, most), "insufficient_scope")
    fields: dict[str, Any] = {
        "name": name,
        "user": ctx.user if kind == "personal" else None,
        "service_account": account,
        "scopes": wanted,
        "created_by": ctx.user,
        "expires_at": timezone.now() + timedelta(days=days or 0),
    }
    return _store(ctx, ctx.tenant, fields)


def token_revoke(*, ctx: TenantContext, token_id: int) -> ApiToken:
    """Ends a token at once, and with it every JWT it was exchanged for. Repeating it changes nothing."""
    with transaction.atomic():
        token = ApiToken.objects.select_for_update().filter(tenant=ctx.tenant, pk=token_id).first()
        if token is None:
            raise not_found("token")
        ctx.require(may_revoke(ctx, token), "revoke this token")
        if token.revoked_at is None:
            token.revoked_at = timezone.now()
            token.save(update_fields=["revoked_at"])
            audit.record(
                ctx, "token.revoke", target=token.name, target_id=token.pk, after={"revoked_at": token.revoked_at}
            )
    return token


def token_used(*, token: ApiToken, address: str | None) -> None:
    """Writes down the use, at most once a minute. Of requests that come together one does it; nobody waits for another."""
    now = timezone.now()
    if token.last_used_at is not None and now - token.last_used_at < USED_EVERY:
        return
    with connection.cursor() as cursor:
        cursor.execute(USED, [now, address, token.pk, now - USED_EVERY])


def _store(by: TenantContext | audit.Actor, tenant: Tenant, fields: dict[str, Any]) -> tuple[ApiToken, str]:
    token = ApiToken(tenant=tenant, **fields)
    secret = PREFIXES[token.kind] + secrets.token_urlsafe(32)
    token.digest, token.prefix = token_digest(secret), secret[:10]
    with transaction.atomic():
        token.save(force_insert=True)
        after = {
            "kind": token.kind,
            "for": token.holder,
            "scopes": token.scopes,
            "expires_at": token.expires_at,
        }
        audit.record(by, "token.create", tenant=tenant, target=token.name, target_id=token.pk, after=after)
    return token, secret


def _require(ctx: TenantContext, kind: str) -> None:
    """A team's lead for the team and its programs, each person for themselves; with a token, only one for administration."""
    if kind != "personal":
        ctx.require(ctx.can(Role.LEAD), "make tokens of the team")
        return
    if ctx.user is None:
        raise forbidden(
            "A personal token acts for a person, and this token belongs to none: sign in and make it there."
        )
    ctx.require("admin" in ctx.scopes, "make tokens")


def _account(
    ctx: TenantContext, kind: str, given: ServiceAccount | str | None, errors: dict[str, list[str]]
) -> ServiceAccount | None:
    if kind not in KINDS:
        errors["kind"] = [f"must be one of {', '.join(KINDS)}"]
    elif kind != "service":
        if given is not None:
            errors["service_account"] = ['is only for tokens of kind "service"']
    elif given is None:
        errors["service_account"] = ["name the service account that the token acts for"]
    else:
        name = given.name if isinstance(given, ServiceAccount) else given
        account = ServiceAccount.objects.filter(tenant=ctx.tenant, name=name).first()
        if account is None:
            errors["service_account"] = ["there is none of this name in the team"]
        elif not account.is_active:
            errors["service_account"] = ["is disabled; enable it first"]
        return account
    return None


def _grantable(ctx: TenantContext, kind: str, account: ServiceAccount | None) -> list[str]:
    """What the actor can hand on, in the order of ``SCOPES``."""
    role = ctx.role if kind == "personal" else account.role if account else Role.LEAD
    return [scope for scope in SCOPES if scope == "read" or scope in OF_ROLE[Role(role)] & ctx.scopes]


def _scopes(given: Iterable[str] | None, most: list[str], errors: dict[str, list[str]]) -> list[str]:
    """The scopes asked for with what they imply; by default all that may be given."""
    if given is None:
        return most
    asked = {given} if isinstance(given, str) else set(given)
    if not asked or not asked <= set(SCOPES):
        errors["scopes"] = [f"choose from {', '.join(SCOPES)}"]
        return []
    return [scope for scope in SCOPES if scope == "read" or scope in asked]


def _days(given: int | None) -> int | None:
    most = settings.TOKEN_MAX_DAYS
    if given == DEFAULT_DAYS:
        return min(DEFAULT_DAYS, most)
    return given if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= most else None


def _problems_of_name(name: str) -> dict[str, list[str]]:
    found = safejson.text_problem(name)
    if not found and (not name.strip() or len(name) > NAME_MAX):
        found = f"must have 1 to {NAME_MAX} characters"
    return {"name": [found]} if found else {}


def _too_much(ctx: TenantContext, kind: str, excess: list[str], most: list[str]) -> str:
    who = "the service account's role" if kind == "service" else "your role"
    return (
        f"A token cannot have more than {who} and what you act with allow: not {', '.join(excess)}; "
        f"at most {', '.join(most)}."
    )
