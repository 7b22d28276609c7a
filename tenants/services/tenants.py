"""Writes: the teams themselves."""

from tenants.defaults import UNASSIGNED
from tenants.models import Tenant


def tenant_create(*, slug: str, name: str, cost_center: str = UNASSIGNED, **fields: object) -> Tenant:
    """Makes a tenant; raises ``ValidationError`` for a slug that cannot name a namespace."""
    tenant = Tenant(slug=slug, name=name, cost_center_id=cost_center, **fields)
    tenant.full_clean()
    tenant.save()
    return tenant
