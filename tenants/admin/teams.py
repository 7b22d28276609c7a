"""Teams: quotas edited in place beside what is in use, the state of each namespace, and actions on several at once."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from import_export.admin import ImportExportMixin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from platform_portal.errors import DomainError
from tenants import audit
from tenants.admin.base import AuditedAdmin, GuardedForm
from tenants.admin.files import FilesAdmin
from tenants.admin.resources import TenantResource
from tenants.admin.team_actions import TeamActions
from tenants.models import AuditEntry, CostCenter, Tenant
from tenants.models.tenant import OBSERVED
from tenants.quotas import RESOURCES, held_of, limits_of
from tenants.services import tenant_activate, tenant_create, tenant_deactivate, tenant_update

HIGH = 0.8
# Resources that the list shows: those with a sum are beside what is in use.
EDITED = ("quota_cpu", "quota_memory_gib", "quota_gpus", "quota_jobs", "quota_gpus_per_job")
RESOURCE_OF = {names[0]: resource for resource, names in RESOURCES.items()}
USED = ("cpu", "memory_gb", "gpus", "jobs", "pods")


class QuotaInput(UnfoldAdminIntegerFieldWidget):
    """The limit in an input, and beside it what is in use, as a bar and in figures."""

    def __init__(self, *, used: int | None, limit: int, written: int, label: str) -> None:
        super().__init__(attrs={"aria-label": label, "min": 0})
        self.used, self.limit, self.written = used, limit, written

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        used = self.used or 0
        level = "over" if used > self.limit else "high" if used and used >= HIGH * self.limit else "fine"
        context = {
            "input": super().render(name, value, attrs, renderer),
            "used": self.used,
            "limit": self.limit,
            "high": HIGH * self.limit,
            "level": level,
            # A grant until a date raises the limit above what is written here.
            "raised": self.limit if self.limit != self.written else None,
        }
        return render_to_string("admin/tenants/quota_input.html", context)


class TenantForm(GuardedForm):
    """What the service would refuse is said beside the field: it is asked once before, and what it wrote is undone."""

    def service_values(self) -> dict[str, Any]:
        """What was typed, as the service takes it."""
        names = self.changed_data if not self.instance._state.adding else list(self.fields)
        values = {name: self.cleaned_data[name] for name in names if name in self.cleaned_data}
        if "cost_center" in values:
            values["cost_center"] = values["cost_center"].pk
        return values

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors or not self.has_changed():
            return
        try:
            with transaction.atomic():
                values = self.service_values()
                if self.instance._state.adding:
                    tenant_create(**values)
                else:
                    tenant_update(slug=self.instance.slug, **values)
                transaction.set_rollback(True)
        except DomainError as refused:
            told: dict[str | None, list[str]] = {
                name: found for name, found in refused.fields.items() if name in self.fields
            }
            for name, found in (told or {None: [refused.message]}).items():
                self.add_error(name, found)


class QuotaRowForm(TenantForm):
    """One team's row of the list."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tenant: Tenant = self.instance
        held, limits = held_of(getattr(tenant, "usage", None) or NOTHING), limits_of(tenant, timezone.now())
        for name in EDITED:
            if name not in self.fields:
                continue
            resource = RESOURCE_OF[name]
            used = getattr(held, resource) if resource in USED else None
            self.fields[name].widget = QuotaInput(
                used=used,
                limit=getattr(limits, resource),
                written=getattr(tenant, name),
                label=f"{RESOURCES[resource][1]} of {tenant.slug}",
            )


class _Nothing:
    """The usage of a team that has none yet."""

    cpu = memory_gb = gpus = jobs = pods = 0
    gpu_types: dict[str, int] = {}


NOTHING = _Nothing()


class StateFilter(admin.SimpleListFilter):
    title = "namespace"
    parameter_name = "state"
    CONDITIONS = {
        "ready": Q(deleting_at=None, apply_error="", applied_version=F("version")),
        "applying": Q(deleting_at=None, apply_error="") & (Q(applied_version=None) | ~Q(applied_version=F("version"))),
        "error": Q(deleting_at=None) & ~Q(apply_error=""),
        "drift": Q(drift_at__isnull=False),
        "deleting": Q(deleting_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name.capitalize()) for name in self.CONDITIONS]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Tenant]") -> "QuerySet[Tenant]":
        condition = self.CONDITIONS.get(self.value() or "")
        return queryset.filter(condition) if condition else queryset


class UsageFilter(admin.SimpleListFilter):
    title = "usage"
    parameter_name = "usage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("high", "Over 80 % of a limit"), ("waiting", "With waiting jobs"), ("idle", "Nothing running")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Tenant]") -> "QuerySet[Tenant]":
        if self.value() == "waiting":
            return queryset.filter(usage__waiting__gt=0)
        if self.value() == "idle":
            return queryset.filter(Q(usage=None) | Q(usage__pods=0))
        if self.value() != "high":
            return queryset
        near = Q()
        for resource in ("cpu", "memory_gb", "gpus", "jobs", "pods"):
            column = RESOURCES[resource][0]
            near |= Q(**{f"usage__{resource}__gt": 0, f"usage__{resource}__gte": F(column) * HIGH})
        return queryset.filter(near)


@admin.register(Tenant)
class TenantAdmin(TeamActions, FilesAdmin, ImportExportMixin, AuditedAdmin):
    kind = "tenant"
    form = TenantForm
    unaudited = ("created_at", "version", "grants", *sorted(OBSERVED))
    resource_classes = (TenantResource,)
    list_display = ("team", "namespace_state", *EDITED, "waiting", "is_active")
    list_editable = (*EDITED, "is_active")
    list_filter = (
        "is_active",
        StateFilter,
        UsageFilter,
        ("cost_center", AutocompleteSelectFilter),
        "pod_security",
    )
    list_select_related = ("usage", "cost_center")
    list_per_page = 25
    list_fullwidth = True
    search_fields = ("slug", "name", "cost_center__code", "cost_center__name")
    search_help_text = "By slug, name or cost center"
    autocomplete_fields = ("cost_center",)
    ordering = ("slug",)
    readonly_fields = ("namespace_report", "usage_report", "created_at")
    fieldsets = (
        (None, {"fields": ("slug", "name", "cost_center", "is_active")}),
        ("Namespace", {"fields": ("namespace_report", "pod_security", "labels", "artifact_root", "created_at")}),
        (
            "Quota",
            {
                "fields": (
                    "usage_report",
                    ("quota_cpu", "quota_memory_gib"),
                    ("quota_gpus", "quota_gpus_per_job"),
                    "quota_gpu_types",
                    ("quota_jobs", "quota_pods"),
                    "quota_pvcs",
                )
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A slug names a namespace and its contents; it stays."""
        return (*self.readonly_fields, "slug") if obj else tuple(self.readonly_fields)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is observed does not stand in the form that makes a team."""
        if obj is not None:
            return self.fieldsets
        seen = {"namespace_report", "usage_report", "created_at"}
        return [
            (title, {"fields": [name for name in part["fields"] if name not in seen]}) for title, part in self.fieldsets
        ]

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{"form": QuotaRowForm, **kwargs})

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A team's namespace must be seen gone first: the list's own action asks for its slug and starts that."""
        return False

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """The service writes it, with its line in the log: what was typed here and nothing else."""
        by = audit.actor_of(request.user)
        given = form.service_values()
        if not change:
            made = tenant_create(by=by, **given)
            obj.pk, obj._state.adding = made.pk, False
            return
        active = given.pop("is_active", None)
        if given:
            tenant_update(slug=obj.slug, by=by, **given)
        if active is not None:
            (tenant_activate if active else tenant_deactivate)(slug=obj.slug, by=by)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The service has done so."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The service has done so."""

    def history_of(self, obj: Tenant) -> "QuerySet[AuditEntry]":
        return AuditEntry.objects.filter(tenant_id=obj.pk)

    # ---- columns

    @admin.display(description="Team", ordering="slug")
    def team(self, obj: Tenant) -> str:
        center: CostCenter = obj.cost_center
        return format_html(
            '<a class="team" href="{}"><strong>{}</strong></a><small>{} · {}</small>',
            reverse("admin:tenants_tenant_change", args=[obj.pk]),
            obj.slug,
            obj.name,
            center.code,
        )

    @admin.display(description="Namespace", ordering="applied_at")
    def namespace_state(self, obj: Tenant) -> str:
        state, detail = state_of(obj)
        return format_html(
            '<span class="state state-{}">{}</span><small title="{}">{}</small>', state, state, detail, detail
        )

    @admin.display(description="Waiting", ordering="usage__waiting")
    def waiting(self, obj: Tenant) -> int:
        usage = getattr(obj, "usage", None)
        return usage.waiting if usage else 0

    @admin.display(description="State")
    def namespace_report(self, obj: Tenant) -> str:
        state, _ = state_of(obj)
        lines = [f"Applied {timesince(obj.applied_at)} ago." if obj.applied_at else "Never applied."]
        if obj.applied_version is not None and obj.applied_version != obj.version:
            lines.append(f"Version {obj.version} is wanted, {obj.applied_version} stands.")
        if obj.drift_at:
            lines.append(f"Changed by hand and put back {timesince(obj.drift_at)} ago; the audit log says what.")
        if obj.deleting_at:
            lines.append(
                f"Deletion asked for by {obj.deletion_requested_by or 'somebody'} {timesince(obj.deleting_at)} ago."
            )
        if obj.apply_error:
            lines.append(f"Kubernetes said: {obj.apply_error}")
        return format_html('<span class="state state-{}">{}</span> {}', state, state, " ".join(lines))

    @admin.display(description="In use")
    def usage_report(self, obj: Tenant) -> str:
        usage = getattr(obj, "usage", None)
        held, limits = held_of(usage or NOTHING), limits_of(obj, timezone.now())
        parts = [f"{RESOURCES[name][1]} {getattr(held, name)} / {getattr(limits, name)}" for name in USED]
        parts += [
            f"{model} {held.gpu_types.get(model, 0)} / {most}" for model, most in sorted(limits.gpu_types.items())
        ]
        parts.append(f"{usage.waiting if usage else 0} waiting")
        return " · ".join(parts)


def state_of(tenant: Tenant) -> tuple[str, str]:
    """What the namespace is in, in a word, and what there is to add."""
    if tenant.deleting_at:
        return "deleting", f"for {timesince(tenant.deleting_at)}"
    if tenant.apply_error:
        return "error", tenant.apply_error[:80]
    if tenant.applied_version is None:
        return "applying", "not made yet"
    if tenant.applied_version != tenant.version:
        return "applying", f"version {tenant.applied_version} of {tenant.version}"
    if tenant.drift_at and tenant.drift_at > timezone.now() - timedelta(days=1):
        return "drift", f"put back {timesince(tenant.drift_at)} ago"
    return "ready", f"applied {timesince(tenant.applied_at)} ago" if tenant.applied_at else ""
