"""What is done with several teams at once; whatever could hurt is asked for on a page of its own first.

Each team is changed by the same service as everywhere, in one transaction for all of them: all are changed, or none.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from platform_portal.errors import DomainError
from tenants import audit
from tenants.models import CostCenter, Tenant
from tenants.quotas import RESOURCES
from tenants.services import tenant_activate, tenant_deactivate, tenant_delete, tenant_update

MOST = 1_000_000
MOST_TEAMS = 200
MULTIPLY, SET = "multiply", "set"
Teams = QuerySet[Tenant]


class CostCenterForm(forms.Form):
    cost_center = forms.ModelChoiceField(
        CostCenter.objects.filter(is_active=True), widget=UnfoldAdminSelectWidget, empty_label="Choose one"
    )


class QuotaForm(forms.Form):
    resource = forms.ChoiceField(
        choices=[(names[0], names[1]) for names in RESOURCES.values()], widget=UnfoldAdminSelectWidget
    )
    how = forms.ChoiceField(
        choices=[(MULTIPLY, "Multiply by"), (SET, "Set to")], widget=UnfoldAdminSelectWidget, label="How"
    )
    amount = forms.DecimalField(
        max_digits=10,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01", "min": "0"}),
        validators=[MinValueValidator(0), MaxValueValidator(MOST)],
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        amount = cleaned.get("amount")
        if cleaned.get("how") == SET and amount is not None and amount != amount.to_integral_value():
            self.add_error("amount", "A limit is a whole number.")
        return cleaned

    def limit_for(self, present: int) -> int:
        amount: Decimal = self.cleaned_data["amount"]
        wanted = amount if self.cleaned_data["how"] == SET else present * amount
        return min(int(wanted.to_integral_value()), MOST)


class DeleteForm(forms.Form):
    """A field for each team, in which its slug is typed."""

    def __init__(self, *args: Any, teams: list[Tenant], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teams = teams
        for team in teams:
            self.fields[f"slug-{team.pk}"] = forms.CharField(
                label=f"Type {team.slug}", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
            )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for team in self.teams:
            name = f"slug-{team.pk}"
            if name in cleaned and cleaned[name] != team.slug:
                self.add_error(name, f"This is not {team.slug}, letter by letter.")
        return cleaned


class TeamActions:
    """A mix-in of the teams' page."""

    actions = ("activate", "deactivate", "set_cost_center", "change_quota", "delete_teams")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Django's own deletion would leave a namespace behind that nobody looks after."""
        actions: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description="Activate")
    def activate(self, request: HttpRequest, queryset: Teams) -> None:
        self._each(request, queryset, "activated", lambda team, by: tenant_activate(slug=team.slug, by=by))

    @admin.action(description="Deactivate: nothing more is submitted, what runs goes on")
    def deactivate(self, request: HttpRequest, queryset: Teams) -> None:
        self._each(request, queryset, "deactivated", lambda team, by: tenant_deactivate(slug=team.slug, by=by))

    @admin.action(description="Set the cost center …")
    def set_cost_center(self, request: HttpRequest, queryset: Teams) -> HttpResponse | None:
        form = CostCenterForm(request.POST if "apply" in request.POST else None)
        if form.is_bound and form.is_valid():
            code = form.cleaned_data["cost_center"].pk
            done = f"moved to {code}"
            self._each(request, queryset, done, lambda team, by: tenant_update(slug=team.slug, by=by, cost_center=code))
            return None
        return self._ask(
            request,
            queryset,
            "set_cost_center",
            title="Set the cost center",
            form=form,
            warning="The namespaces' labels follow. What has been spent so far stays with the old cost center.",
            rows=[(team.slug, str(team.cost_center), "") for team in _taken(queryset)],
            headings=("Team", "Cost center now", ""),
            button="Set the cost center",
        )

    @admin.action(description="Change a quota …")
    def change_quota(self, request: HttpRequest, queryset: Teams) -> HttpResponse | None:
        """First what, then what that makes of each team, then it is done."""
        form = QuotaForm(request.POST if "apply" in request.POST or "preview" in request.POST else None)
        good = form.is_bound and form.is_valid()
        column = form.cleaned_data["resource"] if good else ""
        if good and "apply" in request.POST and request.POST.get("previewed") == _shown(form):
            self._each(
                request,
                queryset,
                "given another quota",
                lambda team, by: tenant_update(
                    slug=team.slug, by=by, **{column: form.limit_for(getattr(team, column))}
                ),
            )
            return None
        rows = (
            [(team.slug, getattr(team, column), form.limit_for(getattr(team, column))) for team in _taken(queryset)]
            if good
            else []
        )
        return self._ask(
            request,
            queryset,
            "change_quota",
            title="Change a quota",
            form=form,
            rows=rows,
            headings=("Team", "Limit now", "Limit then"),
            warning="A lower limit ends nothing that runs: it holds for what starts from then on.",
            button="Change these quotas" if good else "Show what it makes",
            previewed=_shown(form) if good else "",
        )

    @admin.action(description="Delete …")
    def delete_teams(self, request: HttpRequest, queryset: Teams) -> HttpResponse | None:
        teams = _taken(queryset)
        form = DeleteForm(request.POST if "apply" in request.POST else None, teams=teams)
        if form.is_bound and form.is_valid():
            typed = {team.pk: form.cleaned_data[f"slug-{team.pk}"] for team in teams}
            self._each(
                request,
                queryset,
                "being deleted",
                lambda team, by: tenant_delete(slug=team.slug, confirm=typed[team.pk], by=by),
            )
            return None
        live = queryset.order_by().aggregate(live=Sum("usage__jobs"), waiting=Sum("usage__waiting"))
        return self._ask(
            request,
            queryset,
            "delete_teams",
            title="Delete teams",
            form=form,
            warning=(
                "This cannot be taken back. What runs is ended, the namespace is deleted with everything in it, and then the team"
                " goes with its members, tokens, jobs and their logs. The audit log stays. "
                f"At the moment {live['live'] or 0} jobs run and {live['waiting'] or 0} wait in these teams."
            ),
            rows=[(team.slug, team.name, team.cost_center_id) for team in teams],
            headings=("Team", "Name", "Cost center"),
            button="Delete for good",
            is_dangerous=True,
        )

    # ---- what is shared

    def _each(
        self, request: HttpRequest, queryset: Teams, done: str, change: Callable[[Tenant, audit.Actor], object]
    ) -> None:
        """All in the transaction that the page began; a refusal undoes it and is said."""
        by = audit.actor_of(request.user)
        teams = _taken(queryset)
        for team in teams:
            change(team, by)
        names = ", ".join(team.slug for team in teams)
        self.message_user(request, f"{_count(teams)} {done}: {names}.", messages.SUCCESS)  # type: ignore[attr-defined]

    def _ask(self, request: HttpRequest, queryset: Teams, action: str, **what: Any) -> TemplateResponse:
        request.current_app = self.admin_site.name  # type: ignore[attr-defined]
        context = self.admin_site.each_context(request) | {  # type: ignore[attr-defined]
            "opts": self.opts,  # type: ignore[attr-defined]
            "action": action,
            "checkbox": ACTION_CHECKBOX_NAME,
            "chosen": [team.pk for team in _taken(queryset)],
            **what,
        }
        return TemplateResponse(request, "admin/tenants/ask.html", context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """What a service refuses is a message on the list, and nothing has been written."""
        try:
            return super().changelist_view(request, extra_context)  # type: ignore[misc]
        except DomainError as refused:
            if request.method != "POST":
                raise
            self.message_user(request, f"Nothing was changed. {refused.message}", messages.ERROR)  # type: ignore[attr-defined]
            return redirect(request.get_full_path())


def _taken(queryset: Teams) -> list[Tenant]:
    """The chosen teams, read once for an action."""
    found = getattr(queryset, "_taken", None)
    if found is None:
        found = list(queryset.select_related("cost_center")[: MOST_TEAMS + 1])
        if len(found) > MOST_TEAMS:
            raise DomainError("too_many", f"At most {MOST_TEAMS} teams can be changed at once; choose fewer.")
        queryset._taken = found  # type: ignore[attr-defined]
    return found


def _shown(form: QuotaForm) -> str:
    """What a preview was made of: only that is applied."""
    return "|".join(str(form.cleaned_data[name]) for name in ("resource", "how", "amount"))


def _count(teams: list[Tenant]) -> str:
    return f"{len(teams)} team" if len(teams) == 1 else f"{len(teams)} teams"
