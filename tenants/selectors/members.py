"""Who is in a team."""

from django.db.models import Case, IntegerField, QuerySet, Value, When

from tenants.context import TenantContext
from tenants.models import Membership, Role

MOST = 1000


def members_of(ctx: TenantContext) -> list[Membership]:
    """The team's members with their accounts: leads first, then by name; at most ``MOST``."""
    return list(_of(ctx).order_by(_rank(), "user__username")[:MOST])


def _of(ctx: TenantContext) -> QuerySet[Membership]:
    return Membership.objects.filter(tenant=ctx.tenant).select_related("user")


def _rank() -> Case:
    places = ((Role.LEAD, 0), (Role.MEMBER, 1))
    return Case(*(When(role=role, then=Value(n)) for role, n in places), default=Value(2), output_field=IntegerField())
