"""Which tenants a person belongs to, and which tenant a token stands for."""

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from django.db import connection
from django.utils import timezone

from tenants.context import TenantContext
from tenants.models import ApiToken, Membership, Role, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def context_for_token(token: str) -> TenantContext | None:
    """The context of a live token; ``None`` for one that is unknown, expired or revoked."""
    found = _token_of(token_digest(token))
    if found is None or found.revoked_at is not None:
        return None
    if found.expires_at is not None and found.expires_at <= timezone.now():
        return None
    return TenantContext(tenant=found.tenant, role=Role.LEAD, token=found, scopes=frozenset(found.scopes))


def context_for_user(user: "User", slug: str) -> TenantContext | None:
    """The person's context in a tenant, or ``None`` when they have no part in it."""
    if user.is_superuser:
        tenant = Tenant.objects.filter(slug=slug).first()
        return TenantContext(tenant=tenant, role=Role.LEAD, user=user) if tenant else None
    membership = Membership.objects.select_related("tenant").filter(user=user, tenant__slug=slug).first()
    return TenantContext(tenant=membership.tenant, role=membership.role, user=user) if membership else None


def tenants_of(user: "User") -> list[Tenant]:
    """The teams a person can switch to, by name."""
    if user.is_superuser:
        return list(Tenant.objects.order_by("name")[:100])
    return list(Tenant.objects.filter(memberships__user=user).order_by("name"))


def _token_of(digest: str) -> ApiToken | None:
    """The token with its tenant. Every API request begins with this query, so its SQL is put together once."""
    with connection.cursor() as cursor:
        cursor.execute(_token_query(), [digest])
        row = cursor.fetchone()
    if row is None:
        return None
    names = [field.attname for field in ApiToken._meta.concrete_fields]
    token = ApiToken.from_db(connection.alias, names, row[: len(names)])
    token.tenant = Tenant.from_db(
        connection.alias, [field.attname for field in Tenant._meta.concrete_fields], row[len(names) :]
    )
    return token


@cache
def _token_query() -> str:
    sql, _ = ApiToken.objects.select_related("tenant").filter(digest="").order_by().query.sql_with_params()
    return str(sql)
