"""The audit log of a team, newest first: a page of it, or all of it as a stream."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from platform_portal.errors import invalid
from tenants.context import TenantContext
from tenants.models import AuditEntry, Role

BATCH = 500
Place = tuple[datetime, int]


@dataclass(frozen=True)
class AuditFilter:
    """What the log is narrowed to; empty values do not narrow. ``since`` and ``until`` are whole days in UTC, both included."""

    text: str = ""
    actor: str = ""
    action: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def active(self) -> bool:
        return self != AuditFilter()


def audit_page(
    ctx: TenantContext, wanted: AuditFilter, *, limit: int, after: Place | None = None
) -> tuple[list[AuditEntry], bool]:
    """One page of the team's log and whether there is more, by keyset."""
    page = list(_after(_entries(ctx, wanted), after)[: limit + 1])
    return page[:limit], len(page) > limit


def audit_all(ctx: TenantContext, wanted: AuditFilter) -> Iterator[AuditEntry]:
    """Everything that matches, read in batches, so that an export of any length needs little memory and no long transaction."""
    return _in_batches(_entries(ctx, wanted))


def audit_actions(ctx: TenantContext) -> list[str]:
    """The actions in the newest lines of the log, for its filter."""
    _require(ctx)
    recent = AuditEntry.objects.filter(tenant_id=ctx.tenant.pk).values_list("action", flat=True)[:500]
    return sorted(set(recent))


def encode_place(entry: AuditEntry) -> str:
    """The place after a line, opaque to callers."""
    raw = f"{entry.at.astimezone(UTC).isoformat()}|{entry.pk}"
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def decode_place(cursor: str) -> Place | None:
    """The place a cursor names; ``None`` for none given, a 400 for one that we did not make."""
    if not cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, row_id = raw.partition("|")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not re.fullmatch(r"\d{1,18}", row_id, re.ASCII):
            raise ValueError("no place")
        return moment.astimezone(UTC), int(row_id)
    except (ValueError, OverflowError, binascii.Error) as exc:
        raise invalid({"cursor": ["must be taken from the Link header of a page before"]}) from exc


def parse_audit_filter(params: Mapping[str, Any], *, strict: bool) -> AuditFilter:
    """The filter of a query string; ``strict`` answers a 400 for a date that is none, pages ignore it."""
    words = {key: str(params.get(key, "")).replace("\x00", "")[:200].strip() for key in ("text", "actor", "action")}
    days: dict[str, date | None] = {}
    for key in ("since", "until"):
        given = str(params.get(key, "")).strip()
        days[key] = _day(given)
        if strict and given and days[key] is None:
            raise invalid({key: ["must be a day such as 2026-03-31"]})
    return AuditFilter(words["text"], words["actor"], words["action"], days["since"], days["until"])


def _require(ctx: TenantContext) -> None:
    ctx.require(ctx.can(Role.LEAD), "read the audit log")


def _entries(ctx: TenantContext, wanted: AuditFilter) -> QuerySet[AuditEntry]:
    _require(ctx)
    conditions = Q(tenant_id=ctx.tenant.pk)
    if wanted.actor:
        conditions &= Q(actor__icontains=wanted.actor)
    if wanted.action:
        conditions &= Q(action__startswith=wanted.action)
    if wanted.since:
        conditions &= Q(at__gte=datetime.combine(wanted.since, time(), UTC))
    if wanted.until:
        conditions &= Q(at__lt=datetime.combine(wanted.until + timedelta(days=1), time(), UTC))
    entries = AuditEntry.objects.filter(conditions)
    if wanted.text:
        # Each word somewhere in the line, what changed included.
        entries = entries.alias(
            old=Cast("before", TextField()), new=Cast("after", TextField()), host=Cast("address", TextField())
        )
        for word in wanted.text.split()[:10]:
            found = Q()
            for place in ("target", "actor", "action", "via", "old", "new", "host"):
                found |= Q(**{f"{place}__icontains": word})
            entries = entries.filter(found)
    return entries.order_by("-at", "-id")


def _in_batches(entries: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    place = None
    while batch := list(_after(entries, place)[:BATCH]):
        yield from batch
        place = (batch[-1].at, batch[-1].pk)


def _after(entries: QuerySet[AuditEntry], place: Place | None) -> QuerySet[AuditEntry]:
    if place is None:
        return entries
    # The row-wise comparison, spelled so that the index on (tenant, at, id) serves it.
    at, row_id = place
    return entries.filter(at__lte=at).exclude(at=at, id__gte=row_id)


def _day(text: str) -> date | None:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    # A day has to have a day after it.
    return day if day < date.max else None
