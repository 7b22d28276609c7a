"""The audit log of the whole platform, to search and to take away, and what people have been told. Nothing here can be changed.

The log grows without end: nothing counts it, pages are read newest first by its index, and an export is read in pieces by place.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import RangeDateFilter, TextFilter

from platform_portal import spreadsheet
from tenants import audit
from tenants.admin.base import InfinitePaginator, ReadOnlyAdmin, change_of, moment
from tenants.models import AuditEntry, Notification

BATCH = 1000
COLUMNS = (
    "at", "actor", "actor_kind", "tenant_slug", "action", "target", "target_id", "before", "after", "via", "address", "id",
)  # fmt: skip


class _Exactly(TextFilter):
    """Lines with exactly this; a trailing * is any end."""

    column = ""

    def queryset(self, request: HttpRequest, queryset: "QuerySet[AuditEntry]") -> "QuerySet[AuditEntry]":
        wanted = (self.value() or "").replace("\x00", "").strip()
        if not wanted:
            return queryset
        if wanted.endswith("*"):
            return queryset.filter(**{f"{self.column}__startswith": wanted[:-1]})
        return queryset.filter(**{self.column: wanted})


class ActorFilter(_Exactly):
    title, parameter_name, column = "who", "who", "actor"


class ActionFilter(_Exactly):
    title, parameter_name, column = "what (such as quota.*)", "what", "action"


class TeamFilter(_Exactly):
    title, parameter_name, column = "team", "team", "tenant_slug"


class DoorFilter(admin.SimpleListFilter):
    title, parameter_name = "by way of", "via"
    DOORS = ("page", "api", "admin", "sign-in", "command", "reconciler")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(door, door) for door in self.DOORS]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[AuditEntry]") -> "QuerySet[AuditEntry]":
        return queryset.filter(via=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    kind = "audit"
    paginator = InfinitePaginator
    show_full_result_count = False
    list_display = ("time", "who", "action", "target", "tenant_slug", "changed", "where")
    list_filter = (("at", RangeDateFilter), ActorFilter, ActionFilter, TeamFilter, DoorFilter)
    search_fields = ("actor", "action", "target", "tenant_slug")
    search_help_text = "Who, what or which object. Narrow by team or date first when the log is long."
    # Its order is its index's; any other would sort all of it.
    sortable_by = ()
    ordering = ("-at", "-id")
    actions = None
    list_per_page = 100
    list_max_show_all = 0
    change_list_template = "admin/tenants/audit_list.html"
    fields = (
        "at",
        "actor",
        "actor_kind",
        "tenant_slug",
        "action",
        "target",
        "target_id",
        "was",
        "became",
        "via",
        "address",
    )
    readonly_fields = ("was", "became")

    def get_urls(self) -> list[URLPattern]:
        own = path("export/", self.admin_site.admin_view(self.export), name="tenants_auditentry_export")
        return [own, *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """The lines that the list's filters show, all of them, as CSV or as a JSON object a line."""
        as_json = request.GET.get("format") == "jsonl"
        query = request.GET.copy()
        query.pop("format", None)
        request.GET = query  # type: ignore[assignment]
        lines = _in_pieces(self.get_changelist_instance(request).get_queryset(request))
        audit.record(audit.actor_of(request.user), "audit.export", after={"filter": query.urlencode()[:500]})
        name = f"audit-{timezone.now():%Y%m%d-%H%M%S}.{'jsonl' if as_json else 'csv'}"
        return StreamingHttpResponse(
            _as_json_lines(lines) if as_json else _as_csv(lines),
            content_type="application/jsonl" if as_json else "text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    time = moment("at", "When (UTC)")

    @admin.display(description="Who")
    def who(self, obj: AuditEntry) -> str:
        return obj.actor if obj.actor_kind in ("user", "platform") else f"{obj.actor} ({obj.actor_kind})"

    @admin.display(description="From where")
    def where(self, obj: AuditEntry) -> str:
        return f"{obj.via}, {obj.address}" if obj.address else obj.via

    @admin.display(description="What changed")
    def changed(self, obj: AuditEntry) -> str:
        return change_of(obj)

    @admin.display(description="Before")
    def was(self, obj: AuditEntry) -> str:
        return _pretty(obj.before)

    @admin.display(description="After")
    def became(self, obj: AuditEntry) -> str:
        return _pretty(obj.after)


def _pretty(value: Any) -> str:
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False)) if value is not None else "–"


def _in_pieces(entries: "QuerySet[AuditEntry]") -> Iterator[AuditEntry]:
    """All of them in short queries, each from the place where the one before ended."""
    entries, place = entries.order_by("-at", "-id"), Q()
    while piece := list(entries.filter(place)[:BATCH]):
        yield from piece
        last = piece[-1]
        place = Q(at__lt=last.at) | Q(at=last.at, id__lt=last.pk)


def _as_json_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(_values(entry), ensure_ascii=False) + "\n"


def _as_csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    class Line:
        """What ``csv`` writes to is handed on."""

        def write(self, text: str) -> str:
            return text

    writer = csv.writer(Line())
    yield writer.writerow(COLUMNS)
    for entry in entries:
        cells = [
            json.dumps(cell, ensure_ascii=False) if isinstance(cell, dict) else cell for cell in _values(entry).values()
        ]
        yield writer.writerow([spreadsheet.guarded(cell) for cell in cells])


def _values(entry: AuditEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in COLUMNS} | {"at": entry.at.isoformat()}


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    kind = "notification"
    paginator = InfinitePaginator
    show_full_result_count = False
    list_display = ("time", "user", "message", "read", "mail_due", "mail_attempts")
    list_select_related = ("user",)
    search_fields = ("user__username", "message")
    search_help_text = "By person or text"
    sortable_by = ()
    ordering = ("-at",)
    actions = None
    list_max_show_all = 0
    time = moment("at", "When (UTC)")
    read = moment("read_at", "Read")
    mail_due = moment("mail_due_at", "Mail due")
    fields = ("at", "user", "message", "url", "read_at", "mail_due_at", "mail_attempts")
