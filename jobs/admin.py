"""Training jobs in the admin site: to look at, not to change behind the reconciler's back.

The table is long, so nothing counts or sorts all of it: the list begins with the live jobs, which have an index of their own, and
ended ones are read by team or by id.
"""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from jobs.models import ENDED, LIVE, Status, TrainingJob
from tenants.admin.base import InfinitePaginator, ReadOnlyAdmin, moment


class LiveFilter(admin.SimpleListFilter):
    """Live jobs unless something else is chosen."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting in a queue"), *Status.choices, ("ended", "Ended"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        yield first | {"display": "Live"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: "QuerySet[TrainingJob]") -> "QuerySet[TrainingJob]":
        chosen = self.value()
        if chosen == "all":
            return queryset
        if chosen == "waiting":
            return queryset.filter(status__in=LIVE, admitted_at=None)
        if chosen == "ended":
            return queryset.filter(status__in=ENDED)
        return queryset.filter(status=chosen) if chosen in Status.values else queryset.filter(status__in=LIVE)


@admin.register(TrainingJob)
class TrainingJobAdmin(ReadOnlyAdmin):
    kind = "job"
    paginator = InfinitePaginator
    show_full_result_count = False
    list_display = (
        "name",
        "tenant",
        "submitted_by",
        "status",
        "reason",
        "machine",
        "submitted",
        "seen",
        "page",
    )
    list_filter = (LiveFilter, ("tenant", AutocompleteSelectFilter))
    list_select_related = ("tenant",)
    search_fields = ("name", "submitted_by")
    search_help_text = "By id, name or submitter; a name or submitter is looked for among the jobs of the chosen state"
    sortable_by = ()
    ordering = ("-created_at", "-id")
    actions = None
    list_max_show_all = 0
    fields = (
        "id", "name", "tenant", "owner", "submitted_by", "created_at", "status", "reason", "error_message", "exit_code",
        "attempts", "instance_type", "cpu_cores", "memory_gb", "gpu_count", "gpu_type", "queue", "priority", "admitted_at",
        "cancel_requested_at", "cancelled_by", "kubernetes_job_name", "cluster_uid", "started_at", "completed_at",
        "observed_at", "next_check_at", "lease_owner", "lease_until", "failures", "version",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> "QuerySet[TrainingJob]":
        # Environment variables may hold what is nobody else's business; the list needs neither.
        return super().get_queryset(request).defer("spec", "metrics")

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[TrainingJob]", search_term: str
    ) -> tuple["QuerySet[TrainingJob]", bool]:
        """An id finds its job in whatever state."""
        try:
            wanted = UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        return self.get_queryset(request).filter(pk=wanted), False

    submitted = moment("created_at", "Submitted (UTC)")
    seen = moment("observed_at", "Last seen")

    @admin.display(description="Machine")
    def machine(self, obj: TrainingJob) -> str:
        gpus = f", {obj.gpu_count} GPU" if obj.gpu_count else ""
        return f"{obj.instance_type or 'own'}: {obj.cpu_cores} cores, {obj.memory_gb} GB{gpus}"

    @admin.display(description="")
    def page(self, obj: TrainingJob) -> str:
        address = reverse("jobs:detail", args=[obj.tenant.slug, obj.pk])
        return format_html('<a href="{}">Open</a>', address)
