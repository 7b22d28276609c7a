"""Writes: who belongs to a team, and as what."""

from typing import TYPE_CHECKING

from tenants.models import Membership, Role, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def member_set(*, tenant: Tenant, user: "User", role: Role) -> Membership:
    """Gives the person this role in the tenant, whatever they had before."""
    membership, _ = Membership.objects.update_or_create(tenant=tenant, user=user, defaults={"role": role})
    return membership
