"""Which tenants a person belongs to, and which tenant a token stands for."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import connection, models
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from tenants.context import TenantContext
from tenants.models import ApiToken, Membership, Role, ServiceAccount, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# What is read of a person and of a service account; the rest is loaded if somebody asks for it.
USER_FIELDS = ("id", "username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser")
ACCOUNT_FIELDS = ("id", "tenant_id", "name", "role", "is_active")


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def context_for_token(token: str) -> TenantContext | None:
    """The context of a live token; ``None`` for one that is unknown, expired or revoked, or whose holder is gone."""
    return _context(_found("digest", token_digest(token)), timezone.now())


def context_for_token_id(token_id: int) -> TenantContext | None:
    """The same for a JWT that was given for this token: what ended the token has ended the JWT."""
    return _context(_found("pk", token_id), timezone.now())


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


@dataclass(frozen=True)
class _Found:
    """A token with its tenant and, if it acts for one, its person or service account."""

    token: ApiToken
    user: "User | None"
    membership_role: str | None
    account: ServiceAccount | None


def _context(found: _Found | None, now: datetime) -> TenantContext | None:
    if found is None or found.token.revoked_at is not None:
        return None
    token, user, account = found.token, found.user, found.account
    if token.expires_at is not None and token.expires_at <= now:
        return None
    role: str | None = Role.LEAD
    if user is not None:
        role = Role.LEAD if user.is_superuser else found.membership_role
        if role is None or not user.is_active:
            return None
    elif account is not None:
        if not account.is_active:
            return None
        role = account.role
    scopes = frozenset(token.scopes) | {"read"}
    return TenantContext(
        tenant=token.tenant, role=str(role), user=user, token=token, service_account=account, scopes=scopes
    )


def _found(by: str, value: Any) -> _Found | None:
    """Every API request begins with this query, so its SQL is put together once."""
    with connection.cursor() as cursor:
        cursor.execute(_query(by), [value])
        row = cursor.fetchone()
    if row is None:
        return None
    at = iter(row)
    token = _row(ApiToken, _names(ApiToken), at)
    token.tenant = _row(Tenant, _names(Tenant), at)
    membership_role = next(at)
    user = account = None
    if token.user_id is not None:
        user = token.user = _row(get_user_model(), USER_FIELDS, at)
    elif token.service_account_id is not None:
        rest = row[-len(ACCOUNT_FIELDS) :]
        account = token.service_account = _row(ServiceAccount, ACCOUNT_FIELDS, iter(rest))
        account.tenant = token.tenant
    return _Found(token, user, membership_role, account)


def _row(model: type[models.Model], names: tuple[str, ...], values: Any) -> Any:
    return model.from_db(connection.alias, names, [next(values) for _ in names])


@cache
def _names(model: type[models.Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields)


@cache
def _query(by: str) -> str:
    role = Membership.objects.filter(tenant=OuterRef("tenant"), user=OuterRef("user")).values("role")
    columns = [
        *_names(ApiToken),
        *(f"tenant__{name}" for name in _names(Tenant)),
        "membership_role",
        *(f"user__{name}" for name in USER_FIELDS),
        *(f"service_account__{name}" for name in ACCOUNT_FIELDS),
    ]
    found = ApiToken.objects.annotate(membership_role=Subquery(role)).filter(**{by: 0}).order_by()
    sql, _ = found.values_list(*columns).query.sql_with_params()
    return str(sql)
