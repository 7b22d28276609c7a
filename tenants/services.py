"""Writes: tenants, memberships and tokens."""

import secrets
from typing import TYPE_CHECKING

from tenants.defaults import UNASSIGNED
from tenants.models import ApiToken, Membership, Role, Tenant
from tenants.selectors import token_digest

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def tenant_create(*, slug: str, name: str, cost_center: str = UNASSIGNED, **fields: object) -> Tenant:
    """Makes a tenant; raises ``ValidationError`` for a slug that cannot name a namespace."""
    tenant = Tenant(slug=slug, name=name, cost_center_id=cost_center, **fields)
    tenant.full_clean()
    tenant.save()
    return tenant


def member_set(*, tenant: Tenant, user: "User", role: Role) -> Membership:
    """Gives the person this role in the tenant, whatever they had before."""
    membership, _ = Membership.objects.update_or_create(tenant=tenant, user=user, defaults={"role": role})
    return membership


def token_create(*, tenant: Tenant, name: str, created_by: "User | None" = None) -> tuple[ApiToken, str]:
    """Makes a token; the second value is the secret, to be shown once and kept nowhere."""
    secret = f"mlp_{secrets.token_urlsafe(32)}"
    token = ApiToken.objects.create(tenant=tenant, name=name, digest=token_digest(secret), created_by=created_by)
    return token, secret
