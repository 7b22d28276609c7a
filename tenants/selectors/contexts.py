"""Which tenants a person belongs to, and which tenant a token stands for."""

import hashlib
import re
from dataclasses import dataclass, replace
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

# What the text of a token begins with, by what it acts for; people and secret scanners recognise it as well.
PREFIXES = {"team": "mlp_", "personal": "mlpu_", "service": "mlps_"}
# What is read of a person and of a service account; the rest is loaded if somebody asks for it.
USER_FIELDS = frozenset({"id", "username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser"})
ACCOUNT_FIELDS = frozenset({"id", "tenant_id", "name", "role", "is_active"})


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def context_for_token(token: str) -> TenantContext | None:
    """The context of a live token; ``None`` for one that is unknown, expired or revoked, or whose holder is gone."""
    kind = next((kind for kind, prefix in PREFIXES.items() if token.startswith(prefix)), "team")
    return _context(_found(kind, "digest", token_digest(token)), timezone.now())


def context_for_token_id(token_id: int, kind: str) -> TenantContext | None:
    """The same for a JWT that was given for this token: what ended the token has ended the JWT."""
    return _context(_found(kind if kind in PREFIXES else "team", "pk", token_id), timezone.now())


def context_for_user(user: "User", slug: str) -> TenantContext | None:
    """The person's context in a tenant, or ``None`` when they have no part in it."""
    if user.is_superuser:
        tenant = Tenant.objects.filter(slug=slug).first()
        return TenantContext(tenant=tenant, role=Role.LEAD, user=user) if tenant else None
    membership = Membership.objects.select_related("tenant").filter(user=user, tenant__slug=slug).first()
    return TenantContext(tenant=membership.tenant, role=membership.role, user=user) if membership else None


def context_elsewhere(ctx: TenantContext, slug: str) -> TenantContext | None:
    """A platform admin's context in another team, with the same token and scopes; ``None`` without that team."""
    tenant = Tenant.objects.filter(slug=slug).first() if ctx.is_platform_admin else None
    return replace(ctx, tenant=tenant, role=Role.LEAD) if tenant else None


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


def _found(kind: str, by: str, value: Any) -> _Found | None:
    """One query, with what this kind of token needs and no more: joins cost as much as all the rest.

    A token that is of another kind than its text says is asked for again as what it is.
    """
    with connection.cursor() as cursor:
        cursor.execute(_query(kind, by), [value])
        row = cursor.fetchone()
    if row is None:
        return None
    token, row = _take(ApiToken, None, row)
    if token.kind != kind:
        return _found(token.kind, by, value)
    token.tenant, row = _take(Tenant, None, row)
    user = role = account = None
    if kind == "personal":
        user, (role,) = _take(get_user_model(), USER_FIELDS, row)
        token.user = user
    elif kind == "service":
        account, _ = _take(ServiceAccount, ACCOUNT_FIELDS, row)
        account.tenant, token.service_account = token.tenant, account
    return _Found(token, user, role, account)


def _take(model: type[models.Model], only: frozenset[str] | None, row: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """An instance from the row's first values, and the rest of the row."""
    names, converters = _columns(model, only)
    values = list(row[: len(names)])
    for place, convert in converters:
        values[place] = convert(values[place], None, connection)
    return model.from_db(connection.alias, names, values), row[len(names) :]


@cache
def _columns(
    model: type[models.Model], only: frozenset[str] | None
) -> tuple[tuple[str, ...], tuple[tuple[int, Any], ...]]:
    """Columns in the model's own order, which ``from_db`` expects, and what turns the database's values into the fields'."""
    fields = [field for field in model._meta.concrete_fields if only is None or field.attname in only]
    converters = [(place, getattr(field, "from_db_value", None)) for place, field in enumerate(fields)]
    return tuple(field.attname for field in fields), tuple(found for found in converters if found[1] is not None)


@cache
def _query(kind: str, by: str) -> str:
    """Every API request begins with it, so its SQL is put together once."""
    found = ApiToken.objects.filter(**{by: 0}).order_by()
    columns = [*_columns(ApiToken, None)[0], *(f"tenant__{name}" for name in _columns(Tenant, None)[0])]
    if kind == "personal":
        role = Membership.objects.filter(tenant=OuterRef("tenant"), user=OuterRef("user")).order_by().values("role")
        found = found.annotate(membership_role=Subquery(role))
        columns += [f"user__{name}" for name in _columns(get_user_model(), USER_FIELDS)[0]] + ["membership_role"]
    elif kind == "service":
        columns += [f"service_account__{name}" for name in _columns(ServiceAccount, ACCOUNT_FIELDS)[0]]
    sql, _ = found.values_list(*columns).query.sql_with_params()
    # The names that Django gives the columns are read by nobody, and the server would parse them each time.
    return re.sub(r' AS "\w+"', "", str(sql))
