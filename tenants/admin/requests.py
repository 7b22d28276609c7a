"""Requests for more quota: those that wait first, each with the form that decides on it."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Case, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSingleDateWidget, UnfoldAdminTextareaWidget

from platform_portal.errors import DomainError
from tenants import amounts
from tenants.admin.base import ReadOnlyAdmin, moment
from tenants.models import QuotaRequest
from tenants.services import quota_request_decide

Status = QuotaRequest.Status
GRANT, DECLINE = "grant", "decline"


class DecisionForm(forms.Form):
    """A limit for each resource that was asked for, already as it was asked for; an empty one is not granted."""

    until = forms.DateField(
        required=False,
        widget=UnfoldAdminSingleDateWidget(attrs={"type": "date"}),
        help_text="The last day, in UTC. Empty: for good.",
    )
    note = forms.CharField(
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="The person who asked reads it. Needed to decline.",
    )

    def __init__(self, *args: Any, request: QuotaRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits: dict[str, str] = {}
        present = amounts.lasting(request.tenant)
        fields: dict[str, forms.Field] = {}
        for number, (resource, wanted) in enumerate(request.wanted.items()):
            name = f"limit-{number}"
            self.limits[name] = resource
            fields[name] = forms.IntegerField(
                required=False,
                initial=wanted,
                min_value=0,
                label=amounts.label(resource),
                widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 0, "max": wanted}),
                help_text=f"{wanted} asked for; the limit is {present.get(resource, 'no longer set')}"
                f" now and was {request.current.get(resource, 'not known')} then.",
            )
        self.fields = fields | self.fields

    @property
    def granted(self) -> dict[str, int]:
        values = {resource: self.cleaned_data.get(name) for name, resource in self.limits.items()}
        return {resource: value for resource, value in values.items() if value is not None}

    def tell(self, refused: DomainError) -> None:
        """The service's sentences beside their fields."""
        names = {f"granted.{resource}": name for name, resource in self.limits.items()}
        for path, found in refused.fields.items():
            name = names.get(path, path)
            self.add_error(name if name in self.fields else None, found)
        if not refused.fields:
            self.add_error(None, refused.message)


@admin.register(QuotaRequest)
class QuotaRequestAdmin(ReadOnlyAdmin):
    kind = "quota"
    list_display = ("state", "team", "wish", "requested_by", "made", "decision")
    made = moment("created_at", "Asked (UTC)")
    list_display_links = ("state", "team")
    list_filter = ("status", ("tenant", AutocompleteSelectFilter))
    list_select_related = ("tenant", "requested_by", "decided_by")
    search_fields = ("tenant__slug", "tenant__name", "requested_by__username", "reason")
    search_help_text = "By team, person or reason"
    change_form_template = "admin/tenants/decide.html"

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """Those that wait first, the oldest of them at the top; then what was decided, the newest first."""
        waiting = Case(When(status=Status.PENDING, then="created_at"))
        return (waiting.asc(nulls_last=True), "-created_at")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The request and, while it waits, the decision on it."""
        asked = self._asked(object_id)
        form = None
        if asked.status == Status.PENDING:
            form = DecisionForm(request.POST or None, request=asked)
            if form.is_bound and form.is_valid():
                done = self._decide(request, asked, form)
                if done is not None:
                    return done
        request.current_app = self.admin_site.name
        context = self.admin_site.each_context(request) | {
            "title": f"{asked.tenant.name} asks for {amounts.listed(asked.wanted)}",
            "asked": asked,
            "rows": [
                (amounts.label(name), asked.current.get(name), wanted, (asked.granted or {}).get(name))
                for name, wanted in asked.wanted.items()
            ],
            "form": form,
            "opts": self.opts,
            "original": asked,
        }
        return TemplateResponse(request, "admin/tenants/decide.html", context)

    def _asked(self, object_id: str) -> QuotaRequest:
        found = None
        if object_id.isdigit() and len(object_id) < 19:
            found = (
                QuotaRequest.objects.filter(pk=object_id)
                .select_related("tenant", "tenant__usage", "requested_by", "decided_by")
                .first()
            )
        if found is None:
            raise Http404
        return found

    def _decide(self, request: HttpRequest, asked: QuotaRequest, form: DecisionForm) -> HttpResponse | None:
        is_grant = request.POST.get("decision") == GRANT
        try:
            quota_request_decide(
                by=request.user,  # type: ignore[arg-type]
                request_id=asked.pk,
                granted=form.granted if is_grant else None,
                until=form.cleaned_data["until"] if is_grant else None,
                note=form.cleaned_data["note"],
            )
        except DomainError as refused:
            form.tell(refused)
            return None
        who = asked.requested_by or "Whoever asked"
        self.message_user(request, f"{'Granted' if is_grant else 'Declined'}. {who} has been told.", messages.SUCCESS)
        return redirect("admin:tenants_quotarequest_changelist")

    @admin.display(description="State", ordering="status")
    def state(self, obj: QuotaRequest) -> str:
        return format_html('<span class="state state-{}">{}</span>', obj.status, Status(obj.status).label)

    @admin.display(description="Team", ordering="tenant__slug")
    def team(self, obj: QuotaRequest) -> str:
        return obj.tenant.slug

    @admin.display(description="Asks for")
    def wish(self, obj: QuotaRequest) -> str:
        return amounts.listed(obj.wanted)

    @admin.display(description="Decided", ordering="decided_at")
    def decision(self, obj: QuotaRequest) -> str:
        return f"{obj.decided_at:%Y-%m-%d} by {obj.decided_by or 'somebody'}" if obj.decided_at else ""
