"""Who acts, for which tenant, and what they may do. Every read and write of tenant data takes a ``TenantContext``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_portal.errors import forbidden
from tenants.models import ApiToken, Role, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User

RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.LEAD: 2}


@dataclass(frozen=True)
class TenantContext:
    """A person (``user``) or a script (``token``) acting in one tenant."""

    tenant: Tenant
    role: str
    user: "User | None" = None
    token: ApiToken | None = None

    @property
    def actor(self) -> str:
        """The name that timelines and lists show."""
        if self.user is not None:
            return self.user.get_username()
        return f"token {self.token.name}" if self.token else "platform"

    def can(self, role: Role) -> bool:
        return RANK[Role(self.role)] >= RANK[role]

    @property
    def can_submit(self) -> bool:
        return self.can(Role.MEMBER) and self.tenant.is_active

    def can_manage(self, owner_id: int | None) -> bool:
        """Leads and the team's tokens manage everything of the team, members their own."""
        if self.can(Role.LEAD):
            return True
        return self.can(Role.MEMBER) and self.user is not None and self.user.pk == owner_id

    def require(self, allowed: bool, action: str) -> None:
        """Raises a 403 that says who may do it."""
        if not allowed:
            raise forbidden(
                f"Your role in {self.tenant.slug} ({self.role}) does not allow you to {action}. Ask a lead of the team."
            )
