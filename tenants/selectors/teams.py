"""The teams of a person, each with what they are in it."""

from typing import TYPE_CHECKING

from tenants.context import TenantContext
from tenants.models import Membership, Role, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST = 100


def teams_of(user: "User") -> list[TenantContext]:
    """Where the person can switch to, by name; an administrator is a lead everywhere."""
    if user.is_superuser:
        return [TenantContext(tenant, Role.LEAD, user) for tenant in Tenant.objects.order_by("name")[:MOST]]
    mine = Membership.objects.filter(user=user).select_related("tenant").order_by("tenant__name")
    return [TenantContext(one.tenant, one.role, user) for one in mine]
