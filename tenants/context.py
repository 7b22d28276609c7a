"""Who acts, for which tenant, and what they may do. Every read and write of tenant data takes a ``TenantContext``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_portal.errors import forbidden
from tenants.models import SCOPES, ApiToken, Role, ServiceAccount, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User

RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.LEAD: 2}


@dataclass(frozen=True)
class TenantContext:
    """A person (``user``), a service account or a team's token acting in one tenant, as far as ``scopes`` go.

    A person's session has all scopes; a token has its own. ``role`` is what the actor has in the team, ``scopes`` narrow it.
    """

    tenant: Tenant
    role: str
    user: "User | None" = None
    token: ApiToken | None = None
    service_account: ServiceAccount | None = None
    scopes: frozenset[str] = frozenset(SCOPES)
    # What the actor is called when neither person nor stored token is at hand, as with a short-lived JWT.
    name: str = ""

    @property
    def actor(self) -> str:
        """The name that timelines and lists show."""
        if self.user is not None:
            return self.user.get_username()
        if self.service_account is not None:
            return f"service account {self.service_account.name}"
        return self.name or (f"token {self.token.name}" if self.token else "platform")

    @property
    def actor_kind(self) -> str:
        if self.service_account is not None:
            return "service-account"
        return "user" if self.user is not None else "token" if self.token or self.name else "platform"

    @property
    def is_platform_admin(self) -> bool:
        """Whether the actor may manage all tenants: an administrator, and with a token only one made for administration."""
        return bool(self.user and self.user.is_superuser and "admin" in self.scopes)

    def can(self, role: Role) -> bool:
        """Whether the actor has at least this role in the team, and scopes that let them use it."""
        return RANK[Role(self.role)] >= RANK[role] and (role != Role.LEAD or "admin" in self.scopes)

    @property
    def can_submit(self) -> bool:
        return self.can(Role.MEMBER) and bool(self.scopes & {"submit", "admin"}) and self.tenant.accepts_work

    def can_manage(self, owner_id: int | None, submitted_by: str = "") -> bool:
        """Leads manage everything of the team, members their own, programs what they submitted under their name."""
        if self.can(Role.LEAD):
            return True
        if not self.can(Role.MEMBER) or not self.scopes & {"submit", "deploy", "admin"}:
            return False
        if self.user is not None:
            return self.user.pk == owner_id
        return owner_id is None and submitted_by == self.actor

    def require(self, allowed: bool, action: str) -> None:
        """Raises a 403 that says who may do it, or what stands in the way."""
        if allowed:
            return
        if not self.tenant.accepts_work and self.can(Role.MEMBER):
            state = "being deleted" if self.tenant.deleting_at else "not active"
            raise forbidden(
                f"The team {self.tenant.slug} is {state}: what it has stays readable, but you cannot {action}.",
                "tenant_inactive",
            )
        if self.scopes != frozenset(SCOPES):
            scopes = ", ".join(sorted(self.scopes)) or "none"
            raise forbidden(
                f"This token (scopes: {scopes}; role: {self.role}) does not allow you to {action}. Use one that does.",
                "insufficient_scope",
            )
        raise forbidden(
            f"Your role in {self.tenant.slug} ({self.role}) does not allow you to {action}. Ask a lead of the team."
        )
