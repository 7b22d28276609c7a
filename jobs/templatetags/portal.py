"""What the templates need beside Django's own: times that tick, states as pills, sizes, icons."""

from datetime import UTC, datetime
from typing import Any

from django import template
from django.conf import settings
from django.forms import BoundField
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from jobs import presenters
from jobs.models import Status
from tenants.demo import DEMO_TOKENS, DEMO_USERS, DemoUser

register = template.Library()

# Drawn on 16 × 16, stroked with the text's colour.
ICONS = {
    "plus": "M8 3v10M3 8h10",
    "check": "M3.5 8.5l3 3 6-7",
    "cross": "M4.5 4.5l7 7M11.5 4.5l-7 7",
    "slash": "M4 12L12 4",
    "clock": "M8 4.5V8l2.5 1.5",
    "chevron": "M4.5 6.5L8 10l3.5-3.5",
    "right": "M6.5 4.5L10 8l-3.5 3.5",
    "left": "M9.5 4.5L6 8l3.5 3.5",
    "download": "M8 2.5v7.5M5 7.5l3 3 3-3M3 13.5h10",
    "copy": "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
    "again": "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3",
    "edit": "M10.5 3.5l2 2-7 7H3.5v-2z",
    "stop": "M4.5 4.5h7v7h-7z",
    "sun": "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2"
    "M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
    "warning": "M8 2.5l6 11H2zM8 7v3M8 11.8v.1",
    "info": "M8 7.2v4M8 4.7v.1",
    "file": "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
    "search": "M7 3a4 4 0 1 1 0 8 4 4 0 0 1 0-8M10 10l3.5 3.5",
    "key": "M10 3a3 3 0 1 1 0 6 3 3 0 0 1 0-6M7.8 8.2L2.5 13.5M4.5 11.5l1.7 1.7",
    "user": "M8 3a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5M3 13.5c.5-3 2.5-4 5-4s4.5 1 5 4",
    "bell": "M4 11.5V7a4 4 0 0 1 8 0v4.5M2.5 11.5h11M6.8 13.8a1.3 1.3 0 0 0 2.4 0",
    "book": "M3 3h4.5v10H3zM7.5 3H13v10H7.5",
    "mark": "M2.5 12.5L6 5.5l3 5 2-3.5 2.5 5.5",
}
RINGED = {"clock", "slash", "check", "cross", "info"}
STATUS_ICONS = {
    Status.PENDING: "clock",
    Status.RUNNING: "running",
    Status.SUCCEEDED: "check",
    Status.FAILED: "cross",
    Status.CANCELLED: "slash",
}


@register.simple_tag
def icon(name: str, ring: bool = False) -> SafeString:
    """A decoration: what it means stands beside it in words."""
    circle = '<circle cx="8" cy="8" r="6.5"/>' if ring else ""
    if name == "running":
        shape = '<circle cx="8" cy="8" r="6.5" opacity=".3"/><path d="M8 1.5A6.5 6.5 0 0 1 14.5 8"/>'
        return mark_safe(f'<svg class="icon spin" viewBox="0 0 16 16" aria-hidden="true">{shape}</svg>')
    path = ICONS[name]
    return mark_safe(f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{circle}<path d="{path}"/></svg>')


@register.simple_tag
def status_pill(status: str) -> SafeString:
    known = Status(status)
    name = STATUS_ICONS[known]
    return format_html('<span class="pill pill-{}">{}{}</span>', status, icon(name, name in RINGED), known.label)


@register.simple_tag
def ago(at: datetime | None, empty: str = "never") -> str:
    """How long ago, in words; ``app.js`` lets it tick and puts the exact time into the tooltip."""
    if at is None:
        return empty
    seconds = (timezone.now() - at).total_seconds()
    return format_html('<time datetime="{}" data-ago>{}</time>', iso(at), presenters.ago_text(seconds))


@register.simple_tag
def lasting(start: datetime | None, end: datetime | None = None, empty: str = "–") -> str:
    """A duration; while there is no end it ticks."""
    if start is None:
        return empty
    seconds = ((end or timezone.now()) - start).total_seconds()
    text = presenters.duration_text(seconds)
    if end is not None:
        return text
    return format_html('<time datetime="{}" data-since>{}</time>', iso(start), text)


@register.simple_tag
def moment(at: datetime | None, empty: str = "–") -> str:
    """The exact time, in UTC."""
    if at is None:
        return empty
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return format_html('<time datetime="{}" class="nowrap">{} <span class="muted">UTC</span></time>', iso(at), text)


@register.filter
def size(count: int) -> str:
    return presenters.size_text(count)


@register.filter
def number(value: Any) -> str:
    return presenters.number_text(value)


@register.filter
def ordinal(number: int) -> str:
    return presenters.ordinal_text(number)


@register.filter
def fields(form: Any, names: str) -> list[BoundField]:
    """Some fields of a form, by their names."""
    return [form[name] for name in names.split(",")]


@register.filter
def get(mapping: dict[str, str], key: str) -> SafeString:
    """A rendered fragment, by an id that a template's dot cannot spell."""
    return mark_safe(mapping[key])


@register.simple_tag
def demo_users() -> tuple[DemoUser, ...]:
    """The demo users to sign in as; none but on the laptop."""
    return DEMO_USERS if settings.LAPTOP else ()


@register.simple_tag
def demo_token(slug: str) -> str:
    """The team's demo token on the laptop; elsewhere nothing."""
    token = f"tenant-{slug}"
    return token if settings.LAPTOP and token in DEMO_TOKENS else ""


@register.simple_tag
def platform_url() -> str:
    return str(settings.PLATFORM_URL)


def iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
