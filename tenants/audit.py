"""``record``: one line of the audit log, in the transaction of what it tells of: both are there, or neither.

An action is ``<kind>.<verb>`` (``quota.change``, ``member.remove``, ``token.create``). ``before`` and ``after`` hold only what
changed, and never a secret.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_portal import origin
from platform_portal.api import plain
from tenants.context import TenantContext
from tenants.models import AuditEntry, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

LONGEST = 200


@dataclass(frozen=True)
class Actor:
    """Who did it, when it is no member of a team: a platform admin, somebody signing in, the platform itself."""

    name: str = "platform"
    kind: str = "platform"
    user_id: int | None = None


PLATFORM = Actor()


def actor_of(user: "User | AnonymousUser | None") -> Actor:
    """The actor that a person is; the platform itself for nobody, as at a command line."""
    if user is None or not user.is_authenticated:
        return PLATFORM
    return Actor(user.get_username(), "user", user.pk)


def record(
    by: TenantContext | Actor,
    action: str,
    *,
    tenant: Tenant | None = None,
    target: object = "",
    target_id: object = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEntry:
    """Writes the line. With a context the tenant is its tenant unless another is named."""
    return AuditEntry.objects.create(**entry(by, action, tenant, target, target_id, before, after))


def entry(
    by: TenantContext | Actor,
    action: str,
    tenant: Tenant | None,
    target: object,
    target_id: object,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> dict[str, Any]:
    """The line's columns, for who writes it together with something else."""
    who = Actor(by.actor, by.actor_kind, by.user.pk if by.user else None) if isinstance(by, TenantContext) else by
    about = tenant or (by.tenant if isinstance(by, TenantContext) else None)
    where = origin.current()
    return {
        "actor": who.name[:LONGEST],
        "actor_kind": who.kind,
        "user_id": who.user_id,
        "tenant_id": about.pk if about else None,
        "tenant_slug": about.slug if about else "",
        "action": action,
        "target": str(target)[:LONGEST],
        "target_id": str(target_id)[:64],
        "before": plain(before) if before is not None else None,
        "after": plain(after) if after is not None else None,
        "via": where.via,
        "address": where.address,
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides cut down to what is different."""
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: before.get(key) for key in keys}, {key: after.get(key) for key in keys}
