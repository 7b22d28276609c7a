"""What the frame and the team's pages need: where switching teams leads, and changes as people read them."""

import json
from decimal import Decimal
from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import reverse

from tenants import amounts
from tenants.context import TenantContext
from tenants.models import AuditEntry, Role

register = template.Library()
# Pages that every team has: who switches on one of them stays on it. On others they land on the nearest.
KEPT = (
    "jobs:dashboard",
    "jobs:list",
    "jobs:submit",
    "tenants:usage",
    "tenants:members",
    "tenants:tokens",
    "tenants:settings",
)
# What a page is a part of, by the beginning of its name.
NEAREST = (("tenants:usage", "tenants:usage"), ("tenants:tokens", "tenants:tokens"), ("tenants:", "tenants:members"),
           ("jobs:", "jobs:list"))  # fmt: skip


@register.simple_tag(takes_context=True)
def switch_url(context: Any, team: TenantContext) -> str:
    """The same kind of page in another team, as far as the person may see it there."""
    request: HttpRequest | None = context.get("request")
    match = request.resolver_match if request else None
    return reverse(_page(match.view_name if match and "tenant" in match.kwargs else "", team), args=[team.tenant.slug])


@register.simple_tag(takes_context=True)
def section(context: Any) -> str:
    """The place in the navigation that the page belongs to: dashboard, jobs, usage or team."""
    request: HttpRequest | None = context.get("request")
    name = request.resolver_match.view_name if request and request.resolver_match else ""
    if name == "jobs:dashboard":
        return "dashboard"
    if name == "jobs:submit":
        return ""
    for prefix, place in (("jobs:", "jobs"), ("tenants:usage", "usage"), ("tenants:", "team")):
        if name.startswith(prefix):
            return place
    return ""


@register.filter
def is_lead(ctx: TenantContext) -> bool:
    return ctx.can(Role.LEAD)


@register.filter
def listed(values: dict[str, int]) -> str:
    """``200 CPU cores and 4 GPUs``."""
    return amounts.listed(values)


@register.filter
def money(value: Decimal) -> str:
    """With thousands apart and no more digits than it has cents, unless it is less than that."""
    digits = 4 if value and abs(value) < Decimal("0.01") else 2
    return f"{value:,.{digits}f}".replace(",", "\u202f")


@register.filter
def changed(entry: AuditEntry) -> list[tuple[str, str | None, str | None]]:
    """A line's (what, old, new), in the order in which it was written; ``None`` where there was or is nothing."""
    before, after = entry.before or {}, entry.after or {}
    rows = [(key, _text(before, key), _text(after, key)) for key in dict.fromkeys([*before, *after])]
    return [row for row in rows if row[1] or row[2]]


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _page(name: str, team: TenantContext) -> str:
    if name == "tenants:audit":
        return name if team.can(Role.LEAD) else "tenants:members"
    if name == "jobs:submit":
        return name if team.can_submit else "jobs:list"
    if name in KEPT:
        return name
    return next((page for prefix, page in NEAREST if name.startswith(prefix)), "jobs:dashboard")
