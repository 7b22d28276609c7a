"""PURE: which memberships a person has by an identity provider's groups, and what must change for that."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tenants.models.people import Role

RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.LEAD: 2}
EVERY_PROVIDER = "*"
MANUAL = ""


@dataclass(frozen=True)
class Rule:
    """``tenant`` and ``role``, or neither and ``platform_admin``."""

    provider: str
    group: str
    tenant: int | None = None
    role: str = ""
    platform_admin: bool = False


@dataclass(frozen=True)
class Held:
    """A membership the person has, and who gave it: empty for a person, else a provider's source."""

    role: str
    source: str


@dataclass(frozen=True)
class Changes:
    """Tenants with the role to give, to change to, and those to leave; and whether the provider makes an admin."""

    add: dict[int, str] = field(default_factory=dict)
    change: dict[int, str] = field(default_factory=dict)
    remove: frozenset[int] = frozenset()
    platform_admin: bool = False


def source_of(provider: str) -> str:
    return f"oidc:{provider}"


def decide(provider: str, groups: frozenset[str], rules: Iterable[Rule], held: dict[int, Held]) -> Changes:
    """The highest role that any group gives holds. Only what this provider gave is changed or taken away."""
    hits = [rule for rule in rules if rule.provider in (provider, EVERY_PROVIDER) and rule.group in groups]
    wanted: dict[int, str] = {}
    for rule in hits:
        if rule.tenant is not None:
            wanted[rule.tenant] = max(wanted.get(rule.tenant, rule.role), rule.role, key=lambda role: RANK[Role(role)])
    source = source_of(provider)
    ours = {tenant: one.role for tenant, one in held.items() if one.source == source}
    return Changes(
        add={tenant: role for tenant, role in wanted.items() if tenant not in held},
        change={tenant: role for tenant, role in wanted.items() if tenant in ours and ours[tenant] != role},
        remove=frozenset(ours.keys() - wanted.keys()),
        platform_admin=any(rule.platform_admin for rule in hits),
    )
