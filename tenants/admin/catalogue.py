"""Who pays, and the machines on offer."""

import json
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from import_export.admin import ImportExportMixin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from tenants import audit
from tenants.admin.base import AuditedAdmin, GuardedForm
from tenants.admin.files import FilesAdmin
from tenants.admin.resources import CostCenterResource, InstanceTypeResource
from tenants.defaults import UNASSIGNED
from tenants.models import CostCenter, InstanceType


@admin.register(CostCenter)
class CostCenterAdmin(FilesAdmin, ImportExportMixin, AuditedAdmin):
    kind = "cost-center"
    unaudited = ("created_at",)
    resource_classes = (CostCenterResource,)
    list_display = ("code", "name", "budget", "teams", "is_active")
    list_filter = ("is_active", "currency")
    search_fields = ("code", "name")
    search_help_text = "By code or name"
    readonly_fields = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[CostCenter]":
        return super().get_queryset(request).annotate(team_count=Count("tenants"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The code stands on objects in the cluster."""
        return ("code", *self.readonly_fields) if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fields = ["code", "name", "monthly_budget", "currency", "is_active"]
        return [*fields, "created_at"] if obj else fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Teams for which none was named have this one."""
        return bool(super().has_delete_permission(request, obj)) and (obj is None or obj.pk != UNASSIGNED)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        super().delete_queryset(request, queryset.exclude(pk=UNASSIGNED))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        super().log_deletions(request, [one for one in queryset if one.pk != UNASSIGNED])

    @admin.display(description="Monthly budget", ordering="monthly_budget")
    def budget(self, obj: CostCenter) -> str:
        return f"{obj.monthly_budget:,} {obj.currency}" if obj.monthly_budget is not None else "none"

    @admin.display(description="Teams", ordering="team_count")
    def teams(self, obj: Any) -> str:
        address = "../tenant/"
        return format_html('<a href="{}?cost_center__code__exact={}">{}</a>', address, obj.pk, obj.team_count)


class InstanceTypeForm(GuardedForm):
    class Meta:
        model = InstanceType
        fields = "__all__"
        widgets = {
            name: UnfoldAdminTextareaWidget(attrs={"rows": 4, "class": "code", "spellcheck": "false"})
            for name in ("node_selector", "tolerations")
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "price_per_hour" in self.fields:
            self.fields["price_per_hour"].help_text = f"In {settings.PRICE_CURRENCY}. 0: no price is shown."
        for name, example in (
            ("node_selector", {"cloud.google.com/gke-accelerator": "nvidia-tesla-v100"}),
            ("tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]),
        ):
            if name in self.fields:
                self.fields[name].help_text = f"JSON, such as {json.dumps(example)}"
                self.fields[name].encoder = _Indented  # type: ignore[attr-defined]


class _Indented(json.JSONEncoder):
    """JSON that people edit."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "indent": 2})


@admin.register(InstanceType)
class InstanceTypeAdmin(FilesAdmin, ImportExportMixin, AuditedAdmin):
    kind = "instance-type"
    form = InstanceTypeForm
    resource_classes = (InstanceTypeResource,)
    list_display = ("name", "machine", "price_per_hour", "who", "order", "is_active")
    list_editable = ("price_per_hour", "order", "is_active")
    list_filter = ("is_active", "gpu_type", ("tenants", AutocompleteSelectFilter))
    search_fields = ("name", "description", "gpu_type")
    search_help_text = "By name, description or GPU type"
    autocomplete_fields = ("tenants",)
    actions = ("offer", "retire")
    fieldsets = (
        (None, {"fields": ("name", "description", "is_active", "order")}),
        ("Machine", {"fields": (("cpu_cores", "memory_gb"), ("gpu_count", "gpu_type"), "price_per_hour")}),
        ("Where it is found", {"fields": ("node_selector", "tolerations")}),
        ("Who may use it", {"fields": ("tenants",), "description": "No team: every team."}),
    )

    def get_queryset(self, request: HttpRequest) -> "QuerySet[InstanceType]":
        return super().get_queryset(request).prefetch_related("tenants")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Jobs and scripts call it by its name."""
        return ("name",) if obj else ()

    @admin.display(description="Machine", ordering="cpu_cores")
    def machine(self, obj: InstanceType) -> str:
        return obj.label.partition(" — ")[2]

    @admin.display(description="For")
    def who(self, obj: InstanceType) -> str:
        slugs = [tenant.slug for tenant in obj.tenants.all()]
        more = f" and {len(slugs) - 3} more" if len(slugs) > 3 else ""
        return ", ".join(slugs[:3]) + more if slugs else "every team"

    @admin.action(description="Offer")
    def offer(self, request: HttpRequest, queryset: "QuerySet[InstanceType]") -> None:
        self._set(request, queryset, True, "offered")

    @admin.action(description="Retire: nothing new starts on it, what runs goes on")
    def retire(self, request: HttpRequest, queryset: "QuerySet[InstanceType]") -> None:
        self._set(request, queryset, False, "retired")

    def _set(self, request: HttpRequest, queryset: "QuerySet[InstanceType]", active: bool, done: str) -> None:
        changed = list(queryset.select_for_update().filter(is_active=not active))
        InstanceType.objects.filter(pk__in=[one.pk for one in changed]).update(is_active=active)
        for one in changed:
            audit.record(
                audit.actor_of(request.user),
                "instance-type.change",
                target=one.name,
                target_id=one.pk,
                before={"is_active": not active},
                after={"is_active": active},
            )
        self.message_user(request, f"{len(changed)} {done}.", messages.SUCCESS)
